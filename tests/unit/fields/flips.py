"""For each field of cluster.yaml another value, which must make a difference.

A field's path is that of its keys, with `[]` for any item of a list. Its flip is a value for that field of the first
item in real.yaml, or a `Flip` where more has to change for the file to stay valid, or another file is meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Takes the key away.
ABSENT = object()


@dataclass(frozen=True)
class Flip:
    """Changes of a cluster.yaml: whole paths (`spec.nodes[1].role`) and their new values."""

    changes: dict[str, Any]
    of: str = "real"


def lab(**changes: Any) -> Flip:  # noqa: ANN401  # values of cluster.yaml are open
    """A flip in lab.yaml of fields of `spec.lab`."""
    return Flip({f"spec.lab.{key}": value for key, value in changes.items()}, of="lab")


def exempt(kind: str, name: str) -> Flip:
    """A flip of one kind of `spec.admission.podSecurityExemptions`."""
    return Flip({f"spec.admission.podSecurityExemptions.{kind}": [name]})


_RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBISEhISEhISEhISEhISEhISEhISEhISEhISEhISEhIS"
_WORKER = {"name": "w3", "address": "192.0.2.23", "role": "worker", "ssh": {"hostKeys": [_KEY]}}
_GATE = {"name": "other", "user": "guest", "address": "198.51.100.2", "hostKeys": [_KEY]}
_LIMITS = "spec.namespaces[].limits"

FLIPS: dict[str, Any] = {
    "metadata.name": "other",
    "spec.preset": "stig",
    "spec.kubernetes.version": "1.35.8",
    "spec.kubernetes.featureGates": {"SchedulerAsyncAPICalls": True},
    "spec.nodes": Flip({"spec.nodes[3]": _WORKER}),
    "spec.nodes[].name": "cp2",
    "spec.nodes[].address": "192.0.2.20",
    "spec.nodes[].secondAddress": Flip({"spec.nodes[0].secondAddress": "2001:db8:1::12"}, of="dual"),
    "spec.nodes[].role": Flip({"spec.nodes[0].role": "worker", "spec.nodes[1].role": "control-plane"}),
    "spec.nodes[].architecture": "arm64",
    "spec.nodes[].zone": "c",
    "spec.nodes[].labels": {"example.com/tier": "two"},
    "spec.nodes[].taints": [],
    "spec.nodes[].taints[].key": "example.com/other",
    "spec.nodes[].taints[].value": "those",
    "spec.nodes[].taints[].effect": "NoExecute",
    "spec.nodes[].ssh.user": "other",
    "spec.nodes[].ssh.port": 22,
    "spec.nodes[].ssh.hostKeys": [_KEY],
    "spec.nodes[].ssh.key": "~/.ssh/others",
    "spec.nodes[].ssh.jumpHost": Flip({"spec.nodes[0].ssh.jumpHost": ABSENT, "spec.jumpHosts": ABSENT}),
    "spec.jumpHosts": Flip({"spec.jumpHosts[1]": _GATE, "spec.nodes[1].ssh.jumpHost": "other"}),
    "spec.jumpHosts[].name": Flip({"spec.jumpHosts[0].name": "other", "spec.nodes[0].ssh.jumpHost": "other"}),
    "spec.jumpHosts[].address": "198.51.100.2",
    "spec.jumpHosts[].user": "other",
    "spec.jumpHosts[].port": 2201,
    "spec.jumpHosts[].key": "~/.ssh/other",
    "spec.jumpHosts[].hostKeys": [_KEY],
    "spec.access.api": ["203.0.113.0/24"],
    "spec.access.ssh": ["203.0.113.0/24"],
    "spec.access.nodePorts": ["203.0.113.0/24"],
    "spec.endpoint.external": ["other.example.org"],
    "spec.network.plugin": "none",
    "spec.network.manifest.path": Flip({"spec.network.manifest.path": "other.yaml"}, of="authority"),
    "spec.network.manifest.sha256": Flip({"spec.network.manifest.sha256": "0" * 64}, of="authority"),
    "spec.network.ports": [],
    "spec.network.ports[].port": 9101,
    "spec.network.ports[].protocol": "udp",
    "spec.network.ports[].from": "pods",
    "spec.network.nodeCIDRs": ["192.0.2.16/28"],
    "spec.network.podCIDRs": ["10.128.0.0/16"],
    "spec.network.serviceCIDRs": ["10.129.0.0/16"],
    "spec.pki.algorithm": "ECDSA-P384",
    "spec.pki.extraSANs": ["more.example.org"],
    "spec.pki.authority.certificate": Flip({"spec.pki.authority.certificate": "pki/other.crt"}, of="authority"),
    "spec.pki.authority.key": Flip({"spec.pki.authority.key": "pki/other.key.age"}, of="authority"),
    "spec.pki.lifetimes.authorityDays": 1000,
    "spec.pki.lifetimes.leafDays": 100,
    "spec.artifacts.source": "source",
    "spec.artifacts.mirror": "https://mirror.example.org/kharden",
    "spec.encryption.provider": "aescbc",
    "spec.encryption.resources": ["secrets"],
    "spec.audit.layers": ["reads", "contents"],
    "spec.audit.maxAgeDays": 31,
    "spec.audit.maxBackups": 11,
    "spec.audit.maxSizeMB": 101,
    "spec.admission.podSecurity": "privileged",
    "spec.admission.plugins": ["AlwaysPullImages"],
    "spec.admission.podSecurityExemptions.namespaces": exempt("namespaces", "shop"),
    "spec.admission.podSecurityExemptions.usernames": exempt("usernames", "somebody"),
    "spec.admission.podSecurityExemptions.runtimeClasses": exempt("runtimeClasses", "other"),
    "spec.admission.eventRateLimits": [
        {"type": "Server", "qps": 1000, "burst": 2000},
        {"type": "User", "qps": 1, "burst": 2},
    ],
    "spec.admission.eventRateLimits[].type": "User",
    "spec.admission.eventRateLimits[].qps": 1001,
    "spec.admission.eventRateLimits[].burst": 2001,
    "spec.kubelet.podPidsLimit": 1024,
    "spec.kubelet.systemReserved.cpu": "250m",
    "spec.kubelet.systemReserved.memory": "300Mi",
    "spec.kubelet.systemReserved.ephemeralStorage": "2Gi",
    "spec.kubelet.systemReserved.pid": 1001,
    "spec.kubelet.kubeReserved.cpu": "250m",
    "spec.kubelet.kubeReserved.memory": "300Mi",
    "spec.kubelet.kubeReserved.ephemeralStorage": "2Gi",
    "spec.kubelet.kubeReserved.pid": 1001,
    "spec.kubelet.evictionHard": [{"signal": "memory.available", "below": "201Mi"}],
    "spec.kubelet.evictionHard[].signal": "pid.available",
    "spec.kubelet.evictionHard[].below": "201Mi",
    "spec.kubelet.evictionSoft": ABSENT,
    "spec.kubelet.evictionSoft[].signal": "pid.available",
    "spec.kubelet.evictionSoft[].below": "301Mi",
    "spec.kubelet.evictionSoft[].gracePeriod": "1m31s",
    "spec.kubelet.containerLogMaxSize": "11Mi",
    "spec.kubelet.containerLogMaxFiles": 6,
    "spec.kubelet.imagePullCredentialsVerificationPolicy": "AlwaysVerify",
    "spec.namespaces": [],
    "spec.namespaces[].name": Flip({"spec.namespaces[0].name": "x", "spec.namespaces[0].allow": []}),
    "spec.namespaces[].podSecurity": "baseline",
    "spec.namespaces[].defaultDeny": Flip({"spec.namespaces[0].defaultDeny": False, "spec.namespaces[0].allow": []}),
    "spec.namespaces[].allow": [],
    "spec.namespaces[].quota.hard": {"pods": 21},
    f"{_LIMITS}.default.cpu": "501m",
    f"{_LIMITS}.default.memory": "513Mi",
    f"{_LIMITS}.defaultRequest.cpu": "101m",
    f"{_LIMITS}.defaultRequest.memory": "129Mi",
    f"{_LIMITS}.max.cpu": "3",
    f"{_LIMITS}.max.memory": "5Gi",
    "spec.namespaces[].allow[].direction": "egress",
    "spec.namespaces[].allow[].namespaces": [],
    "spec.namespaces[].allow[].cidrs": ["198.51.100.0/25"],
    "spec.namespaces[].allow[].ports": [{"port": 8080}, {"port": 8081}],
    "spec.namespaces[].allow[].ports[].port": 8081,
    "spec.namespaces[].allow[].ports[].protocol": "UDP",
    "spec.secrets.recipients.roots": [_RECIPIENT],
    "spec.secrets.recipients.leaves": [_RECIPIENT],
    "spec.secrets.recipients.data": [_RECIPIENT],
    "spec.waivers": ABSENT,
    "spec.waivers[].control": "apiserver-token-expiry",
    "spec.waivers[].owner": "somebody else",
    "spec.waivers[].reason": "another one",
    "spec.waivers[].expires": "2026-01-31",
    "spec.lab.suite": lab(suite="bookworm"),
    "spec.lab.suites": lab(suites={"cp1": "bookworm"}),
}
