# SPDX-License-Identifier: Apache-2.0
"""Ansible module: a machine of etcd's own as a member."""

from __future__ import annotations

import posixpath
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:  # the same files, where mypy finds them
    from playbooks.module_utils.kharden import etcd, files, membership, quorum, restarts
    from playbooks.module_utils.kharden.errors import NodeError
else:
    from ansible.module_utils.kharden import etcd, files, membership, quorum, restarts
    from ansible.module_utils.kharden.errors import NodeError

DOCUMENTATION = r"""
module: etcd_member
short_description: Make a machine a member of etcd
description:
  - With O(state=begun) it starts a new store together with all other machines, which have to be told the same at the
    same time. A run that was cut off is repeated the same way.
  - With O(state=joined) it becomes a member of a store that lives, where all other members are well. The member that a
    machine in its place left behind is removed before, by the rules of M(quorum); the new one has no vote until it has
    caught up.
  - Either way the service is enabled and started, and it is waited until its member agrees with a majority. Then
    C(/var/lib/kharden/joined) says so.
version_added: "0.1.0"
author:
  - The kharden authors
options:
  node:
    description: This machine's name in O(members).
    type: str
    required: true
  members:
    description: All machines of etcd of the plan, each with C(name), C(peer) and C(client), as of M(quorum).
    type: list
    elements: dict
    required: true
  state:
    description: How it becomes one.
    type: str
    choices: [begun, joined]
    required: true
  cluster:
    description: The cluster's name; members of another cluster are no members of this one.
    type: str
    required: true
  data:
    description: Where etcd keeps its data.
    type: path
    default: /var/lib/etcd
  pending:
    description: Where the list of what still has to restart lies.
    type: path
    default: /var/lib/kharden/pending.json
  timeout:
    description: Seconds that others may take until they are well, and this member.
    type: int
    default: 180
attributes:
  check_mode:
    description: Tells what it would do, and does none of it.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Begin the store
  etcd_member:
    node: etcd1
    cluster: prod
    state: begun
    members:
      - {name: etcd1, peer: "https://10.77.0.31:2380", client: "https://10.77.0.31:2379"}
      - {name: etcd2, peer: "https://10.77.0.32:2380", client: "https://10.77.0.32:2379"}
      - {name: etcd3, peer: "https://10.77.0.33:2380", client: "https://10.77.0.33:2379"}
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode. Where the module fails the last one may have been begun only.
  returned: always
  type: list
  elements: dict
  sample: [{action: start, name: etcd.service}]
"""

ARGUMENTS = {
    "node": {"type": "str", "required": True},
    "members": {"type": "list", "elements": "dict", "required": True},
    "state": {"type": "str", "choices": ["begun", "joined"], "required": True},
    "cluster": {"type": "str", "required": True},
    "data": {"type": "path", "default": etcd.DATA},
    "pending": {"type": "path", "default": restarts.PENDING},
    "timeout": {"type": "int", "default": 180},
}


def become(params: dict[str, Any], actions: list[dict[str, str]], *, plan: bool) -> None:
    """Make this machine a member, and note what is done."""
    gate = quorum.quorum({"node": params["node"], "peers": params["members"]}, params["timeout"])
    if gate is None:
        raise NodeError("members: names nobody: correct it")
    own = membership.Membership(
        gate, f"kharden-{params['cluster']}", params["timeout"], Path(params["data"]), params["pending"], actions
    )
    if plan:  # a new machine has no program yet to ask the others with
        actions.append({"action": "start", "name": etcd.UNIT})
        return
    if params["state"] == "joined" and own.finish():
        return
    if params["state"] == "joined":
        own.join(own.stale())
    else:
        own.begin()


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params: dict[str, Any] = module.params
    plan: bool = module.check_mode
    lock = nullcontext() if plan else files.exclusively(posixpath.dirname(params["pending"]))
    actions: list[dict[str, str]] = []
    try:
        with lock:
            become(params, actions, plan=plan)
    except NodeError as error:
        module.fail_json(msg=error.message, actions=actions, **error.details)
    module.exit_json(changed=True, actions=actions)


if __name__ == "__main__":
    main()
