"""The firewall of a node: the plan's table of ports as rules for nftables."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from itertools import groupby
from typing import TYPE_CHECKING

from kharden.plan.firewall import FAMILIES, METADATA_ADDRESSES, PLACES, POD_INTERFACE, members, of_family, openings
from kharden.render.artefact import Artefact
from kharden.render.text import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kharden.plan.firewall import Family, Opening, Place
    from kharden.plan.model import ClusterPlan, NodePlan
    from kharden.spec.types import IPNetwork

    Rows = list[dict[str, object]]

UNIT = "kharden-firewall.service"
_RULES = "/etc/nftables.d/kharden.nft"
_UNIT_FILE = f"/etc/systemd/system/{UNIT}"
_NAMES: dict[Family, str] = {4: "ip", 6: "ip6"}
_PROTOCOLS: dict[Family, str] = {4: "ipv4", 6: "ipv6"}
# Whose connections are let in before it is known where they lead.
_TRANSLATED: tuple[Place, ...] = ("nodes", "pods", "node-ports")


@dataclass(frozen=True, slots=True)
class Places:
    """Every place's addresses, gathered once: each node's rules have them all, and there may be thousands of nodes.

    Attributes:
        ranges: variables of the rules and what is in them, of each place.
        families: those of which a place has an address.
    """

    ranges: Mapping[Place, Rows]
    families: Mapping[Place, tuple[Family, ...]]


def places_of(plan: ClusterPlan) -> Places:
    """What the rules of all nodes have in common."""
    networks = {place: members(plan, place) for place in PLACES}
    return Places(
        ranges={place: list(_ranges(_variable(place), listed)) for place, listed in networks.items()},
        families={
            place: tuple(family for family in FAMILIES if of_family(listed, family))
            for place, listed in networks.items()
        },
    )


def firewall_files(plan: ClusterPlan, node: NodePlan, places: Places) -> tuple[Artefact, ...]:
    """The rules, and the unit that loads them before the network is up."""
    rules = Artefact(
        _RULES,
        render(_RULES[1:], _values(plan, node, places)),
        mode=0o600,
        restarts=(UNIT,),
        validate=("/usr/sbin/nft", "--check", "--file", "%s"),
    )
    return (rules, Artefact(_UNIT_FILE, render(_UNIT_FILE[1:], {}), restarts=("daemon-reload", UNIT)))


def _values(plan: ClusterPlan, node: NodePlan, places: Places) -> dict[str, object]:
    """What the template has holes for; a place without any address of a family has no rule: nft has no empty set."""
    own = openings(plan, node)
    pods = _named(places, ("pods",))
    own_families = {network.version for network in node.pod_ranges}
    # Where there are no pods nothing is translated, and nothing passes through.
    routed = plan.network.routed and node.kubelet
    foreign = [family for family in FAMILIES if routed and family not in own_families]
    return {
        "ranges": [
            *(row for place in _asked_for(node, own) for row in places.ranges[place]),
            *_ranges("own_pods", node.pod_ranges),
            *_ranges("metadata", [ip_network(address) for address in METADATA_ADDRESSES]),
        ],
        "own_pods": [
            {"interface": POD_INTERFACE, "family": _NAMES[family], "range": f"own_pods{family}"}
            for family in FAMILIES
            if family in own_families
        ],
        "foreign_families": [{"interface": POD_INTERFACE, "protocol": _PROTOCOLS[family]} for family in foreign],
        "translated": _named(places, _TRANSLATED) if node.kubelet else [],
        "forwards": node.kubelet,
        "own_ports": _ports(own),
        "from_pods": list(_rules(places, own, ("pods",))),
        "from_elsewhere": list(_rules(places, own, tuple(place for place in PLACES if place != "pods"))),
        "pods": pods,
        "nodes_to_pods": [
            {"family": nodes["family"], "nodes": nodes["range"], "pods": each["range"]}
            for nodes in _named(places, ("nodes",))
            for each in pods
            if nodes["family"] == each["family"]
        ],
    }


def _asked_for(node: NodePlan, own: tuple[Opening, ...]) -> Iterator[Place]:
    """A machine without pods asks for no others than its ports are open to, and for pods, to drop them."""
    named = {"pods", *(place for opening in own for place in opening.places)}
    yield from (place for place in PLACES if node.kubelet or place in named)


def _ranges(name: str, networks: Iterable[IPNetwork]) -> Iterator[dict[str, object]]:
    listed = tuple(networks)
    for family in FAMILIES:
        if elements := [_element(network) for network in of_family(listed, family)]:
            yield {"name": f"{name}{family}", "elements": ", ".join(elements)}


def _variable(place: Place) -> str:
    """Variables of nft have no hyphens."""
    return place.replace("-", "_")


def _element(network: IPNetwork) -> str:
    return str(network.network_address if network.num_addresses == 1 else network)


def _named(all_places: Places, places: Iterable[Place]) -> Rows:
    return [
        {"family": _NAMES[family], "range": f"{_variable(place)}{family}"}
        for place in places
        for family in all_places.families[place]
    ]


def _ports(own: tuple[Opening, ...]) -> Rows:
    """Each protocol's ports."""
    ports = sorted({(opening.protocol, opening.port) for opening in own})
    return [
        {"protocol": protocol, "ports": ", ".join(str(port) for _, port in group)}
        for protocol, group in groupby(ports, key=lambda pair: pair[0])
    ]


def _rules(all_places: Places, own: tuple[Opening, ...], places: tuple[Place, ...]) -> Iterator[dict[str, object]]:
    for opening in own:
        for source in _named(all_places, (place for place in opening.places if place in places)):
            yield source | {"protocol": opening.protocol, "port": opening.port}
