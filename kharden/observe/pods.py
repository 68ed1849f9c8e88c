"""Pods to try: one that meets the restricted Pod Security Standard, and the same with one thing that it forbids."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kharden.controls.checks import PodAdmission
    from kharden.controls.checks.behaviour import PodFeature
    from kharden.spec.presets import PodSecurityLevel

# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
_RESTRICTED: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "kharden-verify-trial"},
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
_FIELDS = {"host-network": "hostNetwork", "host-pid": "hostPID", "host-ipc": "hostIPC"}
_TITLES: dict[PodFeature, str] = {
    "": "a restricted pod",
    "privileged": "a privileged pod",
    "host-path": "a pod with a folder of the host",
    "root": "a pod that runs as root",
    "host-network": "a pod in the host's network",
    "host-pid": "a pod among the host's processes",
    "host-ipc": "a pod in the host's memory",
    "host-port": "a pod with a port of the host",
    "host-process": "a pod that is a process of a Windows host",
    "capability": "a pod that may send raw packets",
    "escalation": "a pod whose processes may gain rights",
}


def title(check: PodAdmission) -> str:
    """What a person calls the pod; also its key in a request."""
    return _TITLES[check.feature]


def restricted() -> dict[str, Any]:
    """The pod that meets the standard, as the API takes it, for its caller to change."""
    return copy.deepcopy(_RESTRICTED)


def pod(check: PodAdmission) -> dict[str, Any]:
    """The pod as the API takes it."""
    return _with(check.feature)


def violation(standard: PodSecurityLevel) -> dict[str, Any]:
    """A pod that this standard, and no milder one, forbids."""
    return _with("root" if standard == "restricted" else "host-network")


def _with(feature: PodFeature) -> dict[str, Any]:
    tried = restricted()
    spec = tried["spec"]
    (container,) = spec["containers"]
    rights = container["securityContext"]
    if feature == "privileged":
        # The API itself refuses "privileged" together with "no escalation"; that refusal would prove nothing.
        container["securityContext"] = {"privileged": True}
    elif feature == "host-path":
        spec["volumes"] = [{"name": "host", "hostPath": {"path": "/"}}]
    elif feature == "root":
        spec["securityContext"] |= {"runAsNonRoot": False, "runAsUser": 0}
    elif feature == "host-port":
        container["ports"] = [{"containerPort": 8080, "hostPort": 8080}]
    elif feature == "host-process":
        # Kubernetes takes it together with the host's network only.
        spec |= {"hostNetwork": True, "os": {"name": "windows"}}
        spec["securityContext"] = {"windowsOptions": {"hostProcess": True, "runAsUserName": "NT AUTHORITY\\SYSTEM"}}
        del container["securityContext"]
    elif feature == "capability":
        rights["capabilities"] = {"add": ["NET_RAW"], "drop": ["ALL"]}
    elif feature == "escalation":
        rights["allowPrivilegeEscalation"] = True
    elif feature:
        spec[_FIELDS[feature]] = True
    return tried


def scratch_pod(image: str) -> dict[str, Any]:
    """A pod that does nothing, to connect from; the collector puts name and node in. Nothing is ever pulled for it."""
    made = copy.deepcopy(_RESTRICTED)
    made["spec"] |= {"tolerations": [{"operator": "Exists"}], "terminationGracePeriodSeconds": 0}
    made["spec"]["containers"][0] |= {"image": image, "imagePullPolicy": "Never"}
    return made
