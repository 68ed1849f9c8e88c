"""ClusterSpec → ClusterPlan: defaults and facts resolved once."""

from __future__ import annotations

from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.errors import InputError
from kharden.plan import marks, policy
from kharden.plan.endpoints import LOCAL_BALANCER_HOST, LOCAL_BALANCER_PORT
from kharden.plan.model import (
    AccessPlan,
    ArtifactsPlan,
    AuthorityPlan,
    ClusterPlan,
    JumpHostPlan,
    NetworkPlan,
    NetworkPort,
    NodePlan,
    PkiPlan,
    RecipientsPlan,
    Route,
    RuntimePlan,
    SshPlan,
)
from kharden.spec.network_rules import NODE_MASK

if TYPE_CHECKING:
    from kharden.plan.facts import LabFacts
    from kharden.spec.model import Cluster, JumpHost, NetworkSection, Node, Spec, Ssh
    from kharden.spec.types import IPAddress, IPNetwork

# systemd's LimitNOFILE of containerd's own unit is infinity; this bound keeps programs that walk all descriptors quick.
_FILE_LIMIT = 1048576


def make(cluster: Cluster, spec_digest: str, lab: LabFacts | None) -> ClusterPlan:
    """The plan of a valid cluster; `lab` has the facts of its host where the nodes are the lab's.

    Raises:
        InputError: two nodes would get the same range of pod addresses.
    """
    spec = cluster.spec
    routed = spec.network.plugin == "routed"
    ranges = {node.name: _pod_ranges(spec, node) if routed and node.role != "etcd" else () for node in spec.nodes}
    _refuse_shared_ranges(ranges)
    first = next(node.name for node in spec.nodes if node.role == "control-plane")
    # The families of both are in one order. Made once: each node has almost all of them.
    routes = {
        node.name: tuple(starmap(Route, zip(ranges[node.name], _addresses(node), strict=False))) for node in spec.nodes
    }
    # Who has a member of etcd.
    member = "etcd" if any(node.role == "etcd" for node in spec.nodes) else "control-plane"
    nodes = tuple(
        _node(node, first=node.name == first, etcd=node.role == member, ranges=ranges, routes=routes, lab=lab)
        for node in spec.nodes
    )
    return ClusterPlan(
        name=cluster.metadata.name,
        spec_digest=spec_digest,
        preset=spec.preset,
        kubernetes=spec.kubernetes.version,
        nodes=nodes,
        endpoint_host=LOCAL_BALANCER_HOST,
        endpoint_port=LOCAL_BALANCER_PORT,
        external=tuple(str(name) for name in spec.endpoint.external),
        network=_network(spec.network),
        access=AccessPlan(spec.access.api, spec.access.ssh, spec.access.node_ports),
        node_cidrs=spec.network.node_cidrs,
        pod_cidrs=spec.network.pod_cidrs,
        service_cidrs=spec.network.service_cidrs,
        dns_address=spec.network.service_cidrs[0][10],
        pki=_pki(spec),
        encryption=policy.encryption(spec),
        audit=policy.audit(spec),
        admission=policy.admission(spec),
        kubelet=policy.kubelet(spec),
        tls_suites=policy.tls_suites(spec, spec.pki.algorithm),
        kubelet_tls_suites=policy.tls_suites(spec, policy.KUBELET_KEYS),
        self_signed_tls_suites=policy.tls_suites(spec, policy.SELF_SIGNED_KEYS),
        key_exchanges=policy.key_exchanges(spec),
        recipients=RecipientsPlan(
            spec.secrets.recipients.roots, spec.secrets.recipients.leaves, spec.secrets.recipients.data
        ),
        artifacts=_artifacts(spec),
        lab=lab is not None,
        jump_hosts=tuple(_jump_host(host, lab) for host in spec.jump_hosts),
        namespaces=marks.namespaces(spec, policy.admission(spec).pod_security),
        feature_gates=tuple(sorted(spec.kubernetes.feature_gates.items())),
    )


def _artifacts(spec: Spec) -> ArtifactsPlan:
    """Real machines get published files unless somebody says `source` by name; nothing ever falls back to it.

    Nor do they get other Debian packages than the pinned ones.
    """
    source, mirror = spec.artifacts.source, spec.artifacts.mirror or ""
    official = source in {"release", "mirror"} or (source == "auto" and spec.lab is None)
    return ArtifactsPlan(official, mirror.rstrip("/"), other_packages=spec.lab is not None and not official)


def _network(network: NetworkSection) -> NetworkPlan:
    manifest = None if network.manifest is None else (network.manifest.path, network.manifest.sha256)
    ports = tuple(NetworkPort(one.port, one.protocol, one.source) for one in network.ports)
    return NetworkPlan(network.plugin, manifest, ports)


def _node(  # noqa: PLR0913  # what of the whole cluster a node's plan depends on
    node: Node,
    *,
    first: bool,
    etcd: bool,
    ranges: dict[str, tuple[IPNetwork, ...]],
    routes: dict[str, tuple[Route, ...]],
    lab: LabFacts | None,
) -> NodePlan:
    return NodePlan(
        name=node.name,
        addresses=_addresses(node),
        role=node.role,
        architecture=node.architecture,
        first=first,
        ssh=_ssh(node.name, node.ssh, lab, node.ssh.jump_host),
        pod_ranges=ranges[node.name],
        # A machine without pods needs no way to others'.
        routes=tuple(
            route for name, own in routes.items() if name != node.name and node.role != "etcd" for route in own
        ),
        runtime=_runtime(lab),
        etcd=etcd,
        labels=marks.labels(node),
        taints=marks.taints(node),
    )


def _addresses(node: Node) -> tuple[IPAddress, ...]:
    return (node.address,) if node.second_address is None else (node.address, node.second_address)


def _pki(spec: Spec) -> PkiPlan:
    own = spec.pki.authority
    return PkiPlan(
        algorithm=spec.pki.algorithm,
        authority_days=spec.pki.lifetimes.authority_days,
        leaf_days=spec.pki.lifetimes.leaf_days,
        extra_sans=tuple(str(name) for name in spec.pki.extra_sans),
        authority=AuthorityPlan(own.certificate, own.key) if own else None,
    )


def _ssh(name: str, ssh: Ssh | JumpHost, lab: LabFacts | None, jump_host: str | None) -> SshPlan:
    if lab is None:
        return SshPlan(ssh.user, ssh.port, ssh.host_keys, Path(ssh.key) if ssh.key else None, jump_host)
    return SshPlan(ssh.user, ssh.port, lab.host_keys[name], lab.ssh_key, jump_host)


def _jump_host(host: JumpHost, lab: LabFacts | None) -> JumpHostPlan:
    return JumpHostPlan(host.name, str(host.address), _ssh(host.name, host, lab, None))


def _runtime(lab: LabFacts | None) -> RuntimePlan:
    if lab is None:
        return RuntimePlan(2, "systemd", restrict_oom_score=False, file_limit=_FILE_LIMIT, kernel_settings=True)
    return RuntimePlan(
        cgroup_version=lab.cgroup_version,
        cgroup_driver="systemd" if lab.cgroup_version == 2 else "cgroupfs",  # noqa: PLR2004  # cgroup v2
        restrict_oom_score=not lab.oom_adjustable,
        file_limit=min(lab.file_limit, _FILE_LIMIT),
        kernel_settings=False,
    )


def _pod_ranges(spec: Spec, node: Node) -> tuple[IPNetwork, ...]:
    """A node's ranges follow from its first address, so that they stay when other nodes come and go."""
    offset = _offset(node.address, spec.network.node_cidrs)
    ranges: list[IPNetwork] = []
    for network in spec.network.pod_cidrs:
        mask = max(NODE_MASK[network.version], network.prefixlen)
        count = 1 << (mask - network.prefixlen)
        start = int(network.network_address) + ((offset % count) << (network.max_prefixlen - mask))
        ranges.append(type(network)((start, mask)))
    return tuple(ranges)


def _offset(address: IPAddress, networks: tuple[IPNetwork, ...]) -> int:
    network = next(network for network in networks if address in network)
    return int(address) - int(network.network_address)


def _refuse_shared_ranges(ranges: dict[str, tuple[IPNetwork, ...]]) -> None:
    holders: dict[IPNetwork, str] = {}
    for name, own in ranges.items():
        for network in own:
            if network in holders:
                raise InputError(
                    f"nodes {holders[network]} and {name} would share the pod range {network}",
                    remedy="give the cluster a larger podCIDR, or addresses closer together",
                )
            holders[network] = name
