"""The inventory for Ansible: names and what the playbooks need to know of each node; no secret."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from kharden.plan.endpoints import API_PORT, bracketed, etcd_url
from kharden.plan.firewall import ETCD_CLIENT_PORT, ETCD_PEER_PORT, KUBELET_PORT, members
from kharden.render.kubeadm import PATCHES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.plan.model import ClusterPlan, NodePlan
    from kharden.render.artefact import NodeFiles


_PATCHES = PurePosixPath(PATCHES)
# What kharden's files, the kubelet, kube-proxy and containerd call of Debian's, and the package that has it: the
# playbooks install none (docs/adr/0016).
_PROGRAMS = {
    "conntrack": "conntrack",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "iptables": "iptables",
    "modprobe": "kmod",
    "mount": "mount",
    "nft": "nftables",
    "runc": "runc",
    "sshd": "openssh-server",
    "sysctl": "procps",
    "systemctl": "systemd",
    "systemd-sysusers": "systemd",
    "unshare": "util-linux",
}
# Those of them that a machine of etcd's own needs.
_FOR_ETCD = ("ip", "modprobe", "mount", "nft", "sshd", "sysctl", "systemctl", "systemd-sysusers")
# Without which there are no containers; modules are loaded later, with a line of their own where one is missing.
_KERNEL = (
    "filesystem:overlay",
    *(f"controller:{name}" for name in ("cpu", "cpuset", "memory", "pids")),
    *(f"path:/proc/self/ns/{name}" for name in ("ipc", "mnt", "net", "pid", "uts")),
    "path:/proc/sys/kernel/seccomp",
)
_CLUSTER_CA = "/etc/kubernetes/pki/ca.crt"
_ETCD_CA = "/etc/kubernetes/pki/etcd/ca.crt"
_KUBELET = "/usr/local/bin/kubelet"


class _Unsafe(str):
    """A string that Ansible must not take for a template: it executes {{ }} in inventory values otherwise."""

    __slots__ = ()


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # PyYAML's hook
        return True


_Dumper.add_representer(_Unsafe, lambda dumper, value: dumper.represent_scalar("!unsafe", str(value), style="'"))


def inventory(plan: ClusterPlan, nodes: tuple[NodeFiles, ...], manifests: tuple[str, ...]) -> bytes:
    """hosts.yaml: a group for each role and for what apply does first; variables of nodes begin with kharden_.

    What most nodes of a role have in common is the group's: Ansible takes some 10 ms to read what one node is given.
    """
    files = {node.node: node for node in nodes}
    variables = {node.name: _variables(plan, node, files[node.name]) for node in plan.nodes}
    roles = {
        "control_planes": [node.name for node in plan.control_planes],
        "workers": [node.name for node in plan.workers],
        "etcd_machines": [node.name for node in plan.etcd_machines],
    }
    first: dict[str, Any] = {"hosts": {node.name: {} for node in plan.control_planes if node.first}}
    value = {
        "all": {
            "children": {
                **{role: _group({name: variables[name] for name in names}) for role, names in roles.items()},
                "first_control_plane": first,
            },
            "vars": {
                "kharden_cluster_name": plan.name,
                "kharden_manifests": list(manifests),
                "kharden_network_routed": plan.network.routed,
                "kharden_network_brought": plan.network.brought,
                "kharden_peers": [_peer(node) for node in plan.control_planes],
                "kharden_members": [_member(node) for node in plan.etcd_machines],
                "kharden_serving": [_serving(node) for node in plan.kubelets],
            },
        }
    }
    return yaml.dump(_marked(value), Dumper=_Dumper, sort_keys=False, width=1000).encode()


def _group(variables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A group of hosts: the value that most of them have once, and others, which go before it, beside each name."""
    common: dict[str, Any] = {}
    for name in next(iter(variables.values()), {}):
        values = Counter(json.dumps(given[name]) for given in variables.values())
        value, times = values.most_common(1)[0]
        common |= {name: json.loads(value)} if times > 1 else {}
    own = {
        host: {name: value for name, value in given.items() if name not in common or value != common[name]}
        for host, given in variables.items()
    }
    return {"hosts": own, "vars": common}


def _variables(plan: ClusterPlan, node: NodePlan, files: NodeFiles) -> dict[str, Any]:
    return {
        "ansible_become": node.ssh.becomes,
        "kharden_patches": [
            PurePosixPath(file.path).name for file in files.files if PurePosixPath(file.path).parent == _PATCHES
        ],
        "kharden_addresses": [str(address) for address in node.addresses],
        "kharden_preflight": _expectations(plan, node, files),
        "kharden_programs": [{"path": item.path, "sha256": item.sha256, "size": item.size} for item in files.programs],
        "kharden_images": [
            {
                "reference": image.reference,
                "digest": image.digest,
                "archive_sha256": image.archive_sha256,
                "size": image.size,
            }
            for image in files.images
        ],
    }


def _expectations(plan: ClusterPlan, node: NodePlan, files: NodeFiles) -> dict[str, Any]:
    """What a machine must be like before anything is done to it, besides its addresses."""
    control_plane = node.role == "control-plane"
    return {
        "forwards_ipv6": node.kubelet and any(network.version == 6 for network in plan.pod_cidrs),  # noqa: PLR2004  # IP version 6
        "architecture": node.architecture,
        # kubeadm's own least for a control plane; a worker runs with less.
        "memory_mib": 1700 if control_plane else 900,
        "cpus": 2 if control_plane else 1,
        "disk_mib": _room(plan, node),
        "ports": [{"port": port, "programs": [program]} for port, program in _ports(plan, node)],
        "programs": _PROGRAMS if node.kubelet else {name: _PROGRAMS[name] for name in _FOR_ETCD},
        "swap_allowed": False,
        "kernel_features": list(_KERNEL) if node.kubelet else [],
        "cgroup_version": [node.runtime.cgroup_version],
        "distribution": [{"id": "debian", "versions": ["12", "13"]}],
        "ssh": {"port": node.ssh.port, "sources": [str(network) for network in members(plan, "ssh")]},
        "authorities": _authorities(files),
        **({"local_etcd": node.etcd} if control_plane else {}),
        **({"kubernetes": {"version": plan.kubernetes, "kubelet": _digest(files, _KUBELET)}} if node.kubelet else {}),
    }


def _digest(files: NodeFiles, path: str) -> str:
    return next(program.sha256 for program in files.programs if program.path == path)


def _room(plan: ClusterPlan, node: NodePlan) -> dict[str, int]:
    """MiB that must be free for what is placed and written; an API server that can't write its audit log fails."""
    room = {"/var/lib": 4000, "/etc": 16, "/usr/local/bin": 16, "/run": 16}
    if node.kubelet:
        room |= {"/opt/cni/bin": 16}
    return room | ({"/var/log/kubernetes/audit": plan.audit.max_size_mb} if node.role == "control-plane" else {})


def _ports(plan: ClusterPlan, node: NodePlan) -> Iterator[tuple[int, str]]:
    """Which ports a machine's programs will have."""
    if node.kubelet:
        yield plan.endpoint_port, "haproxy"
        yield KUBELET_PORT, "kubelet"
    if node.role == "control-plane":
        yield API_PORT, "kube-apiserver"
    if node.etcd:
        yield ETCD_CLIENT_PORT, "etcd"
        yield ETCD_PEER_PORT, "etcd"


def _authorities(files: NodeFiles) -> dict[str, str]:
    """CA files that tell whose a node is. etcd's counts too: the cluster's may be the user's, and so in new stores."""
    content = {file.path: file.content for file in files.files if not file.sensitive}
    places = {_CLUSTER_CA: content.get("/etc/haproxy/kubernetes-ca.crt"), _ETCD_CA: content.get(_ETCD_CA)}
    return {path: hashlib.sha256(pem).hexdigest() for path, pem in places.items() if pem is not None}


def _serving(node: NodePlan) -> dict[str, Any]:
    """Whose serving certificate may be approved, and for which names."""
    return {"name": node.name, "addresses": [str(address) for address in node.addresses], "dns": [node.name]}


def _peer(node: NodePlan) -> dict[str, str]:
    """A control plane as the others reach it: its API, and its member of etcd where it has one."""
    own = _member(node) if node.etcd else {"name": node.name}
    return own | {"api": f"https://{bracketed(node.address)}:{API_PORT}"}


def _member(node: NodePlan) -> dict[str, str]:
    """A member of etcd as other members and clients reach it."""
    return {
        "name": node.name,
        "peer": etcd_url(node, ETCD_PEER_PORT),
        "client": etcd_url(node, ETCD_CLIENT_PORT),
    }


def _marked(value: object) -> object:
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    return _Unsafe(value) if isinstance(value, str) else value
