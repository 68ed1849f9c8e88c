"""Pods to try: one that meets the restricted Pod Security Standard, and the same with one thing that it forbids."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kharden.controls.checks import PodAdmission

# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
_RESTRICTED: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "kharden-verify"},
    "spec": {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "tried",
                "image": "registry.k8s.io/pause:3.10",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    },
}
_TITLES = {
    "": "a restricted pod",
    "privileged": "a privileged pod",
    "host-path": "a pod with a folder of the host",
    "root": "a pod that runs as root",
    "host-network": "a pod in the host's network",
}


def title(check: PodAdmission) -> str:
    """What a person calls the pod; also its key in a request."""
    return _TITLES[check.feature]


def pod(check: PodAdmission) -> dict[str, Any]:
    """The pod as the API takes it."""
    tried = copy.deepcopy(_RESTRICTED)
    spec = tried["spec"]
    if check.feature == "privileged":
        # The API itself refuses "privileged" together with "no escalation"; that refusal would prove nothing.
        spec["containers"][0]["securityContext"] = {"privileged": True}
    elif check.feature == "host-path":
        spec["volumes"] = [{"name": "host", "hostPath": {"path": "/"}}]
    elif check.feature == "root":
        spec["securityContext"] |= {"runAsNonRoot": False, "runAsUser": 0}
    elif check.feature == "host-network":
        spec["hostNetwork"] = True
    return tried


def scratch_pod() -> dict[str, Any]:
    """A pod that does nothing, to connect from; the collector puts node and image in."""
    made = copy.deepcopy(_RESTRICTED)
    made["spec"] |= {"nodeName": "NODE", "tolerations": [{"operator": "Exists"}], "terminationGracePeriodSeconds": 0}
    made["spec"]["containers"][0] |= {"image": "IMAGE", "imagePullPolicy": "IfNotPresent"}
    return made
