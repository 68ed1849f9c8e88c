"""kubeadm's configuration: what init, join and the phases that make static pods are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.plan import arguments
from kharden.plan.endpoints import DNS_DOMAIN, etcd_url
from kharden.plan.firewall import ETCD_CLIENT_PORT
from kharden.plan.objects import CONTROL_PLANE_TAINT
from kharden.render.artefact import Artefact
from kharden.render.etcd import ETCD_PKI, ETCD_UID
from kharden.render.text import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kharden.plan.model import Argument, ClusterPlan, NodePlan

_FOLDER = "/etc/kharden/kubeadm"
PATCHES = f"{_FOLDER}/patches"


def kubeadm_files(
    plan: ClusterPlan, node: NodePlan, tags: dict[str, str], repositories: Sequence[str]
) -> tuple[Artefact, ...]:
    """init.yaml on every node (its phases tell what shall be there), join.yaml where there can be a cluster without it.

    One of several control planes can be lost and come back, also the first.

    Args:
        plan: the cluster.
        node: the machine that the files are for.
        tags: image tags by image name ("etcd", "coredns"): kubeadm's own defaults may name others.
        repositories: of every image that is brought to nodes, without tags.
    """
    files = [_init(plan, node, tags, repositories)]
    if node.etcd:
        files.append(_etcd_patch())
    if not node.first or len(plan.control_planes) > 1:
        path = f"{_FOLDER}/join.yaml"
        values = _registration(node) | {"control_plane": node.role == "control-plane"}
        files.append(Artefact(path, render(path[1:], values), mode=0o600))
    return tuple(files)


def _etcd_patch() -> Artefact:
    path = f"{PATCHES}/etcd+strategic.yaml"
    values = {"etcd_uid": ETCD_UID, "etcd_pki": ETCD_PKI}
    return Artefact(path, render(path[1:], values), mode=0o600, controls=("etcd-own-user",))


def _registration(node: NodePlan) -> dict[str, object]:
    return {
        "name": node.name,
        "address": str(node.address),
        # In the cluster's order of families. A kubelet that is told of one alone takes what it finds as the other.
        "node_ip": ",".join(map(str, node.addresses)),
        "patches": PATCHES,
        # Of a control plane kubeadm sets its own taint itself.
        "taints": ",".join(str(taint) for taint in node.taints if taint.key != CONTROL_PLANE_TAINT),
        # On a host with cgroup v1 kubeadm's check of the system fails; only the lab has such hosts.
        "ignore_preflight": ["SystemVerification"] if node.runtime.cgroup_version == 1 else [],
    }


def _init(plan: ClusterPlan, node: NodePlan, tags: dict[str, str], repositories: Sequence[str]) -> Artefact:
    path = f"{_FOLDER}/init.yaml"
    values = _registration(node) | {
        "cluster": plan.name,
        "version": f"v{plan.kubernetes}",
        "endpoint": plan.endpoint,
        "algorithm": plan.pki.algorithm,
        "dns_domain": DNS_DOMAIN,
        "pod_subnet": ",".join(map(str, plan.pod_cidrs)),
        "service_subnet": ",".join(map(str, plan.service_cidrs)),
        "dns_tag": tags["coredns"],
        # The members of machines of their own; none: each control plane has one.
        "etcd_endpoints": [etcd_url(one, ETCD_CLIENT_PORT) for one in plan.etcd_machines],
        "etcd_authority": f"{arguments.ETCD_PKI}/ca.crt",
        "etcd_certificate": "/etc/kubernetes/pki/apiserver-etcd-client.crt",
        "etcd_key": "/etc/kubernetes/pki/apiserver-etcd-client.key",
        "etcd_tag": tags["etcd"],
        "etcd_arguments": _as_extra_args(arguments.etcd(plan)),
        "api_server_arguments": _as_extra_args(arguments.api_server(plan)),
        "controller_manager_arguments": _as_extra_args(arguments.controller_manager(plan)),
        "scheduler_arguments": _as_extra_args(arguments.scheduler(plan)),
        "kubelet_configuration": _kubelet(plan, node, repositories).decode().strip(),
        "proxy_feature_gates": dict(plan.gates_of("kube-proxy")),
        "conntrack_per_core": 32768 if node.runtime.kernel_settings else 0,
    }
    controls = {control for flag in arguments.api_server(plan) for control in flag.controls}
    return Artefact(path, render(path[1:], values), mode=0o600, controls=tuple(sorted(controls)))


def _as_extra_args(flags: tuple[Argument, ...]) -> list[dict[str, str]]:
    return [{"name": flag.name, "value": flag.value} for flag in flags]


def own_images(plan: ClusterPlan, repositories: Sequence[str]) -> tuple[str, ...]:
    """How the kubelet is told which images are the cluster's own, as narrowly as its minor understands."""
    if plan.contract.lists_images_by_name:
        return tuple(sorted(repositories))
    return tuple(sorted({f"{repository.partition('/')[0]}/*" for repository in repositories}))


def _kubelet(plan: ClusterPlan, node: NodePlan, repositories: Sequence[str]) -> bytes:
    own = plan.kubelet
    # The kubelet refuses a list under any other policy.
    listed = own.image_verification == "NeverVerifyAllowlistedImages"
    return render(
        "etc/kharden/kubeadm/kubelet.yaml",
        {
            "tls_suites": plan.kubelet_tls_suites,
            "key_exchanges": plan.key_exchanges,
            "pod_pids_limit": own.pod_pids_limit,
            "system_reserved": dict(own.system_reserved),
            "kube_reserved": dict(own.kube_reserved),
            "eviction_hard": dict(own.eviction_hard),
            "eviction_soft": dict(own.eviction_soft),
            "eviction_soft_grace_period": dict(own.eviction_soft_grace_period),
            "container_log_max_size": own.container_log_max_size,
            "container_log_max_files": own.container_log_max_files,
            "image_verification": own.image_verification,
            "verified_by_us": own_images(plan, repositories) if listed else (),
            "protect_kernel_defaults": node.runtime.kernel_settings,
            "feature_gates": dict(plan.gates_of("kubelet")),
            "cgroup_driver": node.runtime.cgroup_driver,
            "fail_cgroup_v1": node.runtime.cgroup_version != 1,
        },
    )
