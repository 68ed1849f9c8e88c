# SPDX-License-Identifier: Apache-2.0
"""Ansible module: workloads of kube-system run everywhere they should, or what keeps their pods from being made."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:  # the same files, where mypy finds them
    from playbooks.module_utils.kharden import api_objects, health
    from playbooks.module_utils.kharden.errors import NodeError
else:
    from ansible.module_utils.kharden import api_objects, health
    from ansible.module_utils.kharden.errors import NodeError

DOCUMENTATION = r"""
module: rolled_out
short_description: Wait until workloads of kube-system run
description:
  - Waits until each of the workloads is rolled out, as C(kubectl rollout status) does.
  - Where pods are missing, the API server is asked whether it would make one. What refuses that for a while (somebody's
    webhook without a backend, for one) won't pass by waiting, and is told at once. Nothing is made for it.
version_added: "0.1.0"
author:
  - The kharden authors
options:
  workloads:
    description: Daemon sets and deployments of kube-system, as C(DaemonSet/kube-proxy).
    type: list
    elements: str
    required: true
  until:
    description: Whether they must run, or only nobody refuses pods that are missing. Who makes those may be away.
    type: str
    choices: [running, permitted]
    default: running
  timeout:
    description: Seconds to wait for each of them.
    type: int
    default: 300
  patience:
    description: Seconds for which pods must be refused before that is told.
    type: int
    default: 30
  kubectl:
    description: The program.
    type: path
    default: /usr/local/bin/kubectl
  kubeconfig:
    description: Whose credentials it uses.
    type: path
    default: /etc/kubernetes/admin.conf
  cache:
    description: Where it keeps what it learns of the API, on tmpfs.
    type: path
    default: /run/kharden-kubectl
attributes:
  check_mode:
    description: It waits for nothing, since nothing was changed.
    support: full
  diff_mode:
    description: It changes nothing.
    support: none
"""

EXAMPLES = r"""
- name: The service proxy runs
  rolled_out:
    workloads: [DaemonSet/kube-proxy]
"""

RETURN = r"""
waited:
  description: For how many seconds it was waited.
  returned: success
  type: float
"""

ARGUMENTS: dict[str, Any] = {
    "workloads": {"type": "list", "elements": "str", "required": True},
    "until": {"type": "str", "choices": ["running", "permitted"], "default": "running"},
    "timeout": {"type": "int", "default": 300},
    "patience": {"type": "int", "default": 30},
    "kubectl": {"type": "path", "default": "/usr/local/bin/kubectl"},
    "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
    "cache": {"type": "path", "default": "/run/kharden-kubectl"},
}
_PAUSE = 2  # seconds between two looks


def wait(api: api_objects.Kubectl, params: dict[str, Any]) -> float:
    """Until all run, or may; for how many seconds that was.

    Raises:
        NodeError: pods of one are refused, or it isn't rolled out in time.
    """
    began = since = allowed = time.monotonic()
    last = ""
    while True:
        found = _look(api, params["workloads"])
        left = [one for one in found if one[1] or params["until"] == "running"]
        now = time.monotonic()
        if not left:
            return now - began
        waiting, why = left[0]
        if waiting != last:
            last, since = waiting, now
        if not why:
            allowed = now
        if why and now - allowed >= params["patience"]:
            raise NodeError(f"{waiting}: its pods can't be made: {why}: mend or remove what refuses them")
        if now - since >= params["timeout"]:
            raise NodeError(
                f"{waiting}: isn't rolled out after {params['timeout']} s: "
                f"see `kubectl --namespace=kube-system describe {waiting}`"
            )
        time.sleep(_PAUSE)


def _look(api: api_objects.Kubectl, workloads: list[str]) -> list[tuple[str, str]]:
    """Workloads that don't run, each with what refuses its pods; an API that is away for a moment refuses none."""
    try:
        items = api.all_of("daemonsets,deployments", "--namespace=kube-system")
        known = {f"{item['kind']}/{item['metadata']['name']}": item for item in items}
        return [(name, _refusal(api, known.get(name))) for name in health.unwell(items, [], workloads)]
    except NodeError:
        return [(name, "") for name in workloads]


def _refusal(api: api_objects.Kubectl, workload: dict[str, Any] | None) -> str:
    return api.refusal(health.pod_of(workload)) if workload and health.lacks_pods(workload) else ""


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    api = api_objects.Kubectl(params["kubectl"], params["kubeconfig"], params["cache"])
    try:
        waited = 0.0 if module.check_mode else wait(api, params)
    except NodeError as error:
        module.fail_json(msg=error.message, **error.details)
    module.exit_json(changed=False, waited=round(waited, 1))


if __name__ == "__main__":
    main()
