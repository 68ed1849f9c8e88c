"""Files of machines: kernel settings and access of every one; a runtime, a network and a balancer of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.plan.endpoints import API_PORT, bracketed
from kharden.render.artefact import Artefact
from kharden.render.etcd import ETCD_UID
from kharden.render.firewall import firewall_files
from kharden.render.text import render

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan, NodePlan
    from kharden.render.firewall import Places
    from kharden.spec.types import IPNetwork

# The balancer's own copy: /etc/kubernetes/pki/ca.crt is not there before a worker has joined.
_BALANCER_CA = "/etc/haproxy/kubernetes-ca.crt"
# Marks our routes; numbers from 5 to 255 that /etc/iproute2/rt_protos doesn't name are free (ip-route(8)).
_ROUTE_PROTOCOL = 107


def machine_files(plan: ClusterPlan, node: NodePlan, places: Places) -> tuple[Artefact, ...]:
    """What every machine has, in the order of its dependencies."""
    return (
        *_kernel(plan, node),
        *firewall_files(plan, node, places),
        _sshd(node),
        _journal(),
        _file("etc/sysusers.d/kharden.conf", {"etcd_uid": ETCD_UID}, restarts=("kharden-users.service",)),
        _file("etc/systemd/system/kharden-users.service", {}, restarts=("daemon-reload", "kharden-users.service")),
    )


def node_files(plan: ClusterPlan, node: NodePlan, authority: bytes, pause_image: str) -> tuple[Artefact, ...]:
    """What every node of Kubernetes has besides, in the order of its dependencies."""
    return (
        *_runtime(node, pause_image),
        *(_network(node) if plan.network.routed else ()),
        *_balancer(plan, authority),
        _file("etc/systemd/system/kubelet.service", {}, mode=0o600, restarts=("daemon-reload", "kubelet.service")),
    )


def _file(path: str, values: dict[str, object], *, mode: int = 0o644, restarts: tuple[str, ...] = ()) -> Artefact:
    return Artefact(f"/{path}", render(path, values), mode=mode, restarts=restarts)


def _kernel(plan: ClusterPlan, node: NodePlan) -> tuple[Artefact, ...]:
    # What the kubelet insists on is a kubelet's; a machine without pods forwards nothing, and needs no module for it.
    own = node.runtime.kernel_settings and node.kubelet
    values: dict[str, object] = {
        "pods": node.kubelet,
        "kernel_settings": own,
        "ipv6": _has_ipv6(plan.pod_cidrs),
    }
    sysctls = _file("etc/sysctl.d/90-kharden.conf", values, restarts=("sysctl",))
    if not own:
        return (sysctls,)
    return (_file("etc/modules-load.d/kharden.conf", {}, restarts=("modules",)), sysctls)


def _sshd(node: NodePlan) -> Artefact:
    """Before every other file of its folder, since sshd takes the first value that it reads (sshd_config(5)).

    Its unit leaves sessions alone when it restarts (KillMode=process).
    """
    path = "etc/ssh/sshd_config.d/00-kharden.conf"
    return Artefact(
        f"/{path}",
        render(path, {"root_login": "no" if node.ssh.becomes else "prohibit-password"}),
        mode=0o600,
        restarts=("ssh.service",),
        controls=("sshd-keys-only", "sshd-root-login", "sshd-forwarding-off", "sshd-limits", "sshd-algorithms"),
        validate=("/usr/sbin/sshd", "-t", "-f", "%s"),
    )


def _journal() -> Artefact:
    """Where every service of ours logs, the balancer by way of /dev/log, so that nothing is left for logrotate.

    The API server rotates its audit log itself, and the kubelet containers' logs.
    """
    path = "etc/systemd/journald.conf.d/90-kharden.conf"
    return Artefact(
        f"/{path}",
        render(path, {}),
        restarts=("systemd-journald.service",),
        controls=("journal-kept", "journal-bounded"),
    )


def _has_ipv6(networks: tuple[IPNetwork, ...]) -> bool:
    return any(network.version == 6 for network in networks)  # noqa: PLR2004  # IP version 6


def _runtime(node: NodePlan, pause_image: str) -> tuple[Artefact, ...]:
    return (
        _file(
            "etc/systemd/system/containerd.service",
            {"file_limit": node.runtime.file_limit},
            restarts=("daemon-reload", "containerd.service"),
        ),
        _file(
            "etc/containerd/config.toml",
            {
                "pause_image": pause_image,
                "restrict_oom_score": node.runtime.restrict_oom_score,
                "systemd_cgroup": node.runtime.cgroup_driver == "systemd",
            },
            mode=0o600,
            restarts=("containerd.service",),
        ),
    )


def _network(node: NodePlan) -> tuple[Artefact, ...]:
    ranges = [[{"subnet": str(network)}] for network in node.pod_ranges]
    routes = [route.words for route in node.routes]
    return (
        _file("etc/cni/net.d/10-kharden.conflist", {"ranges": ranges}, mode=0o600),
        _file(
            "etc/systemd/system/kharden-routes.service",
            {"routes": routes, "protocol": _ROUTE_PROTOCOL, "ipv6": _has_ipv6(node.pod_ranges)},
            restarts=("daemon-reload", "kharden-routes.service"),
        ),
    )


def _balancer(plan: ClusterPlan, authority: bytes) -> tuple[Artefact, ...]:
    servers = [{"name": node.name, "address": f"{bracketed(node.address)}:{API_PORT}"} for node in plan.control_planes]
    configuration = render(
        "etc/haproxy/haproxy.cfg", {"endpoint": plan.endpoint, "ca_file": _BALANCER_CA, "servers": servers}
    )
    return (
        Artefact(_BALANCER_CA, authority, restarts=("haproxy.service",)),
        Artefact(
            "/etc/haproxy/haproxy.cfg",
            configuration,
            restarts=("haproxy.service",),
            validate=("/usr/sbin/haproxy", "-c", "-q", "-f", "%s"),
        ),
    )
