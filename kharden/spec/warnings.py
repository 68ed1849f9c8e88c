"""What is allowed and rarely meant: `validate` and `render` say it in the way of problems; no exit status changes.

A warning is a function like a rule; all of them are in `WARNINGS`.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

from kharden.spec.access_rules import outer_jump_hosts
from kharden.spec.problems import Finding
from kharden.versions import gates
from kharden.versions.contract import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.spec.model import Cluster
    from kharden.spec.network_rules import Rule
    from kharden.spec.problems import KeyPath


def warned(cluster: Cluster) -> Iterator[Finding]:
    """What is worth a warning in a valid `cluster`."""
    yield from chain.from_iterable(warning(cluster) for warning in WARNINGS)


def zones_share_no_majority(cluster: Cluster) -> Iterator[Finding]:
    """Without a majority of its members etcd takes no writes: one zone that fails must not take it along."""
    nodes = cluster.spec.nodes
    role = "etcd" if any(node.role == "etcd" for node in nodes) else "control-plane"
    what = "machines of etcd" if role == "etcd" else "control planes"
    members = [(i, node.zone) for i, node in enumerate(nodes) if node.role == role]
    if len(members) == 1 and not any(node.zone for node in nodes):
        return
    # Members of which no zone is known may all be in one.
    zone, count = Counter(zone for _, zone in members).most_common(1)[0]
    if count <= len(members) // 2:
        return
    index = next(i for i, each in members if each == zone)
    how_many = "all" if count == len(members) else f"{count} of {len(members)}"
    if zone:
        path: KeyPath = ("spec", "nodes", index, "zone")
        message = f"this zone has {how_many} {what}, so the cluster stops with it"
    else:
        path = ("spec", "nodes", index)
        message = f"{how_many} {what} have no zone here, so they may fail together"
    yield Finding(path, message, "spread them over three zones, and write down which")


def feature_gates_stay(cluster: Cluster) -> Iterator[Finding]:
    """A gate whose feature is decided goes in a later minor, and programs then refuse to start with it."""
    own = cluster.spec.kubernetes
    minor = Contract.of(own.version).minor
    for name in own.feature_gates:
        if gates.gates(minor)[name].stage in {"ga", "deprecated"}:
            path: KeyPath = ("spec", "kubernetes", "featureGates", name)
            yield Finding(path, f"this gate is on its way out in {minor}", "find out how to do without it")


def plugins_tunnels_are_let_in(cluster: Cluster) -> Iterator[Finding]:
    """Of a plugin that isn't ours nobody here knows by which ports its nodes speak with each other."""
    network = cluster.spec.network
    if network.plugin != "routed" and not network.ports:
        message = (
            "no port is open for this plugin, so the firewall drops its tunnels between nodes (VXLAN 4789 or 8472/UDP, "
            "Geneve 6081/UDP, WireGuard 51820/UDP) and BGP (179/TCP)"
        )
        yield Finding(("spec", "network", "plugin"), message, "name those that it uses in spec.network.ports")


def jump_hosts_are_let_in(cluster: Cluster) -> Iterator[Finding]:
    """Nodes may see another address of a jump host than this machine; preflight asks them."""
    for name, address in outer_jump_hosts(cluster):
        message = f"this list lacks the address of {name}: nodes let it in only if they see another one of it"
        remedy = f"add {address}/{address.max_prefixlen}, or the address on its inner side if that isn't there"
        yield Finding(("spec", "access", "ssh"), message, remedy)


WARNINGS: tuple[Rule, ...] = (
    zones_share_no_majority,
    feature_gates_stay,
    plugins_tunnels_are_let_in,
    jump_hosts_are_let_in,
)
