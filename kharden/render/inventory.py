"""The inventory for Ansible: names and what the playbooks need to know of each node; no secret."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from kharden.plan.endpoints import API_PORT, bracketed
from kharden.plan.firewall import ETCD_CLIENT_PORT, ETCD_PEER_PORT, KUBELET_PORT, members
from kharden.render.kubeadm import PATCHES

if TYPE_CHECKING:
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
# Without which there are no containers; modules are loaded later, with a line of their own where one is missing.
_KERNEL = (
    "filesystem:overlay",
    *(f"controller:{name}" for name in ("cpu", "cpuset", "memory", "pids")),
    *(f"path:/proc/self/ns/{name}" for name in ("ipc", "mnt", "net", "pid", "uts")),
    "path:/proc/sys/kernel/seccomp",
)
_CLUSTER_CA = "/etc/kubernetes/pki/ca.crt"
_ETCD_CA = "/etc/kubernetes/pki/etcd/ca.crt"


class _Unsafe(str):
    """A string that Ansible must not take for a template: it executes {{ }} in inventory values otherwise."""

    __slots__ = ()


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # PyYAML's hook
        return True


_Dumper.add_representer(_Unsafe, lambda dumper, value: dumper.represent_scalar("!unsafe", str(value), style="'"))


def inventory(plan: ClusterPlan, nodes: tuple[NodeFiles, ...], manifests: tuple[str, ...]) -> bytes:
    """hosts.yaml: groups control_planes, first_control_plane and workers; each host's variables begin with kharden_."""
    files = {node.node: node for node in nodes}
    hosts = {node.name: _variables(plan, node, files[node.name]) for node in plan.nodes}
    groups = {
        "control_planes": [node.name for node in plan.control_planes],
        "first_control_plane": [node.name for node in plan.control_planes if node.first],
        "workers": [node.name for node in plan.workers],
    }
    value = {
        "all": {
            "hosts": hosts,
            "children": {group: {"hosts": {name: {} for name in names}} for group, names in groups.items()},
            "vars": {
                "kharden_manifests": list(manifests),
                "kharden_network_routed": plan.network.routed,
                "kharden_network_brought": plan.network.brought,
                "kharden_peers": [_peer(node) for node in plan.control_planes],
                "kharden_serving": [_serving(node) for node in plan.nodes],
            },
        }
    }
    return yaml.dump(_marked(value), Dumper=_Dumper, sort_keys=False, width=1000).encode()


def _variables(plan: ClusterPlan, node: NodePlan, files: NodeFiles) -> dict[str, Any]:
    return {
        **({"ansible_become": True} if node.ssh.becomes else {}),
        "kharden_patches": [
            PurePosixPath(file.path).name for file in files.files if PurePosixPath(file.path).parent == _PATCHES
        ],
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
    """What a machine must be like before anything is done to it."""
    control_plane = node.role == "control-plane"
    ports = [
        {"port": plan.endpoint_port, "programs": ["haproxy"]},
        {"port": KUBELET_PORT, "programs": ["kubelet"]},
    ]
    if control_plane:
        ports += [
            {"port": API_PORT, "programs": ["kube-apiserver"]},
            {"port": ETCD_CLIENT_PORT, "programs": ["etcd"]},
            {"port": ETCD_PEER_PORT, "programs": ["etcd"]},
        ]
    return {
        "addresses": [str(address) for address in node.addresses],
        "forwards_ipv6": any(network.version == 6 for network in plan.pod_cidrs),  # noqa: PLR2004  # IP version 6
        "architecture": node.architecture,
        # kubeadm's own least for a control plane; a worker runs with less.
        "memory_mib": 1700 if control_plane else 900,
        "cpus": 2 if control_plane else 1,
        "disk_mib": _room(plan, control_plane=control_plane),
        "ports": ports,
        "programs": _PROGRAMS,
        "swap_allowed": False,
        "kernel_features": list(_KERNEL),
        "cgroup_version": [node.runtime.cgroup_version],
        "distribution": [{"id": "debian", "versions": ["12", "13"]}],
        "ssh": {"port": node.ssh.port, "sources": [str(network) for network in members(plan, "ssh")]},
        "authorities": _authorities(files),
    }


def _room(plan: ClusterPlan, *, control_plane: bool) -> dict[str, int]:
    """MiB that must be free for what is placed and written; an API server that can't write its audit log fails."""
    room = {"/var/lib": 4000, "/etc": 16, "/usr/local/bin": 16, "/opt/cni/bin": 16, "/run": 16}
    return room | ({"/var/log/kubernetes/audit": plan.audit.max_size_mb} if control_plane else {})


def _authorities(files: NodeFiles) -> dict[str, str]:
    """CA files that tell whose a node is. etcd's counts too: the cluster's may be the user's, and so in new stores."""
    content = {file.path: file.content for file in files.files if not file.sensitive}
    places = {_CLUSTER_CA: content["/etc/haproxy/kubernetes-ca.crt"], _ETCD_CA: content.get(_ETCD_CA)}
    return {path: hashlib.sha256(pem).hexdigest() for path, pem in places.items() if pem is not None}


def _serving(node: NodePlan) -> dict[str, Any]:
    """Whose serving certificate may be approved, and for which names."""
    return {"name": node.name, "addresses": [str(address) for address in node.addresses], "dns": [node.name]}


def _peer(node: NodePlan) -> dict[str, str]:
    """A control plane as the others reach it: its member of etcd, for other members and for clients, and its API."""
    host = f"https://{bracketed(node.address)}"
    ports = {"peer": ETCD_PEER_PORT, "client": ETCD_CLIENT_PORT, "api": API_PORT}
    return {"name": node.name} | {name: f"{host}:{port}" for name, port in ports.items()}


def _marked(value: object) -> object:
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    return _Unsafe(value) if isinstance(value, str) else value
