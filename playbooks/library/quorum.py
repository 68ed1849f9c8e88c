# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the gate before a control plane joins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:  # the same files, where mypy finds them
    from playbooks.module_utils.kharden import etcd, quorum, static_pods
    from playbooks.module_utils.kharden.errors import NodeError
else:
    from ansible.module_utils.kharden import etcd, quorum, static_pods
    from ansible.module_utils.kharden.errors import NodeError

DOCUMENTATION = r"""
module: quorum
short_description: Let a control plane join only while etcd and the API are well
description:
  - Waits until every other member of etcd is well and votes and another API server is ready, and fails with what is in
    the way where that doesn't come.
  - Finds the member that a machine in this node's place has left behind. It is removed where it is surely that - it has
    this node's address in the plan and took part once, this node has no data of it, and nothing answers for it. Its
    data is gone then, and a new member in its place would break promises that the old one made. In any other case that
    isn't clear it fails with the remedy.
  - Tells which phases of C(kubeadm join) an earlier run has done on this node.
version_added: "0.1.0"
author:
  - The kharden authors
options:
  node:
    description: This node's name in O(peers).
    type: str
    required: true
  peers:
    description: All control planes of the plan, each with C(name), C(peer) and C(client) (the URLs of its etcd member
      for other members and for clients; neither where etcd is on machines of its own) and C(api) (its API server's).
    type: list
    elements: dict
    required: true
  data:
    description: Where etcd keeps its data.
    type: path
    default: /var/lib/etcd
  kubernetes:
    description: kubeadm's folder.
    type: path
    default: /etc/kubernetes
  timeout:
    description: Seconds that others may take until they are well.
    type: int
    default: 120
attributes:
  check_mode:
    description: Nothing is removed.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Etcd can take a member
  quorum:
    node: cp2
    peers:
      - {name: cp1, peer: "https://10.77.0.11:2380", client: "https://10.77.0.11:2379", api: "https://10.77.0.11:6443"}
      - {name: cp2, peer: "https://10.77.0.12:2380", client: "https://10.77.0.12:2379", api: "https://10.77.0.12:6443"}
  register: gate
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode.
  returned: always
  type: list
  elements: dict
  sample: [{action: remove, name: "etcd member cp2 (https://10.77.0.12:2380, 8211f1d0f64f3269)"}]
skip_phases:
  description: Phases of C(kubeadm join) that have been done here.
  returned: always
  type: list
  elements: str
"""

ARGUMENTS = {
    "node": {"type": "str", "required": True},
    "peers": {"type": "list", "elements": "dict", "required": True},
    "data": {"type": "path", "default": "/var/lib/etcd"},
    "kubernetes": {"type": "path", "default": "/etc/kubernetes"},
    "timeout": {"type": "int", "default": 120},
}


def done_before(kubernetes: Path) -> list[str]:
    """Phases of a join that was cut off and that can't be done twice.

    kubeadm's own look at the machine refuses what it has made itself, and its kubelet-start refuses a node that is
    ready. The others leave alone what is there, or write it again.
    """
    if (kubernetes / "kubelet.conf").exists():
        return ["preflight", "kubelet-start"]
    begun = ("manifests/kube-apiserver.yaml", "bootstrap-kubelet.conf")
    return ["preflight"] if any((kubernetes / name).exists() for name in begun) else []


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params: dict[str, Any] = module.params
    actions: list[dict[str, str]] = []
    local = quorum.Local(etcd.has_data(Path(params["data"])), bool(static_pods.running(quorum.ETCD)))
    try:
        gate = quorum.quorum(params, params["timeout"])
        stale = gate.before_join(local) if gate else None
        if gate and stale:
            actions.append({"action": "remove", "name": f"etcd member {stale}"})
            if not module.check_mode:
                gate.etcd.remove(stale)
    except NodeError as error:
        module.fail_json(msg=error.message, actions=[], **error.details)
    module.exit_json(changed=bool(actions), actions=actions, skip_phases=done_before(Path(params["kubernetes"])))


if __name__ == "__main__":
    main()
