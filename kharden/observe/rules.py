"""What the firewall of a node must say, put down once more: `kharden.render` isn't asked, so each judges the other.

A rule is one text: its conditions in their order, each a field and what it must be, and what becomes of the packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from kharden.plan.firewall import (
    METADATA_ADDRESSES,
    PLACES,
    POD_INTERFACE,
    Family,
    collapsed,
    members,
    of_family,
    openings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kharden.plan.firewall import Place
    from kharden.plan.model import ClusterPlan, NodePlan
    from kharden.spec.types import IPNetwork

TABLE = "kharden"
_IP: dict[Family, str] = {4: "ip", 6: "ip6"}
_NEIGHBOURS = ("nd-neighbor-advert", "nd-neighbor-solicit", "nd-router-advert")
_ERRORS = ("destination-unreachable", "echo-request", "parameter-problem", "time-exceeded")
_LOOPBACK = "iif lo: accept"
_KNOWN = "ct state established related: accept"
_BROKEN = "ct state invalid: drop"
_LEASES = (
    "udp sport 67, udp dport 68: accept",
    "ip6 saddr fe80::/10, udp sport 547, udp dport 546: accept",
)


@dataclass(frozen=True, slots=True)
class Chain:
    """Where it hooks in, at which priority, what becomes of what no rule names, and the rules."""

    hook: str
    priority: int
    policy: str
    rules: tuple[str, ...]


def expected_chains(plan: ClusterPlan, node: NodePlan) -> dict[str, Chain]:
    """The chains of our table by their names."""
    return {
        # After conntrack (-200), before destinations are translated (-100).
        "before-translation": Chain("prerouting", -150, "drop", tuple(_before_translation(plan, node))),
        "input": Chain("input", 0, "drop", tuple(_input(plan, node))),
        "forward": Chain("forward", 0, "drop", tuple(_forward(plan, node))),
    }


def condition(field: str, values: Iterable[object], *, negated: bool = False) -> str:
    """One condition, in the form in which rules are compared."""
    return " ".join([field, *(["not"] if negated else []), *map(str, values)])


def _rule(*conditions: str, verdict: str) -> str:
    return f"{', '.join(conditions)}: {verdict}"


def _from(networks: Iterable[IPNetwork], *more: str, verdict: str, direction: str = "saddr") -> Iterator[str]:
    """One rule for each family that the networks are of; none of them lies within another."""
    listed = tuple(networks)
    for family, name in _IP.items():
        if own := of_family(listed, family):
            yield _rule(condition(f"{name} {direction}", own), *more, verdict=verdict)


def _metadata() -> Iterator[str]:
    return _from(collapsed(map(ip_network, METADATA_ADDRESSES)), verdict="drop", direction="daddr")


def _before_translation(plan: ClusterPlan, node: NodePlan) -> Iterator[str]:
    yield _LOOPBACK
    yield _rule(condition("icmpv6 type", ("mld-listener-query", *_NEIGHBOURS)), verdict="accept")
    yield from _metadata()
    if plan.network.routed and node.kubelet:
        yield from _own_pods(node)
    yield _KNOWN
    for place in ("nodes", "pods", "node-ports") if node.kubelet else ():
        yield from _from(members(plan, place), verdict="accept")
    yield _rule(condition("l4proto", ("icmp", "ipv6-icmp")), verdict="accept")
    own = openings(plan, node)
    for protocol in sorted({opening.protocol for opening in own}):
        ports = sorted({opening.port for opening in own if opening.protocol == protocol})
        yield _rule("fib daddr type local", condition(f"{protocol} dport", ports), verdict="accept")
    yield from _LEASES


def _own_pods(node: NodePlan) -> Iterator[str]:
    for family, name in _IP.items():
        for network in of_family(node.pod_ranges, family):
            inside, outside = f"iifname {POD_INTERFACE}", f"iifname not {POD_INTERFACE}"
            yield _rule(inside, condition(f"{name} saddr", [network], negated=True), verdict="drop")
            yield _rule(outside, condition(f"{name} saddr", [network]), verdict="drop")
    for family in _IP:
        if not of_family(node.pod_ranges, family):
            yield _rule(f"iifname {POD_INTERFACE}", f"nfproto ipv{family}", verdict="drop")


def _input(plan: ClusterPlan, node: NodePlan) -> Iterator[str]:
    yield _LOOPBACK
    yield _rule("ip6 hoplimit 255", condition("icmpv6 type", _NEIGHBOURS), verdict="accept")
    yield _rule("ip6 saddr fe80::/10", "icmpv6 type mld-listener-query", verdict="accept")
    yield _KNOWN
    yield _BROKEN
    yield _rule(condition("icmp type", _ERRORS), verdict="accept")
    yield _rule(condition("icmpv6 type", sorted((*_ERRORS, "packet-too-big"))), verdict="accept")
    yield from _openings(plan, node, ("pods",))
    yield from _from(members(plan, "pods"), verdict="drop")
    yield from _openings(plan, node, tuple(place for place in PLACES if place != "pods"))
    yield from _LEASES


def _openings(plan: ClusterPlan, node: NodePlan, places: tuple[Place, ...]) -> Iterator[str]:
    for opening in openings(plan, node):
        for place in opening.places:
            if place in places:
                port = f"{opening.protocol} dport {opening.port}"
                yield from _from(members(plan, place), port, verdict="accept")


def _forward(plan: ClusterPlan, node: NodePlan) -> Iterator[str]:
    if not node.kubelet:
        return
    yield from _metadata()
    yield _KNOWN
    yield _BROKEN
    yield from _from(members(plan, "pods"), verdict="accept")
    for family, name in _IP.items():
        nodes, pods = (of_family(members(plan, place), family) for place in ("nodes", "pods"))
        if nodes and pods:
            yield _rule(condition(f"{name} saddr", nodes), condition(f"{name} daddr", pods), verdict="accept")
    yield "ct status dnat: accept"
