"""The firewall of a node: the plan's table of ports as rules for nftables."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import groupby
from typing import TYPE_CHECKING

from kharden.plan.firewall import FAMILIES, METADATA_ADDRESSES, PLACES, POD_INTERFACE, members, of_family, openings
from kharden.render.artefact import Artefact
from kharden.render.text import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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


def firewall_files(plan: ClusterPlan, node: NodePlan) -> tuple[Artefact, ...]:
    """The rules, and the unit that loads them before the network is up."""
    rules = Artefact(
        _RULES,
        render(_RULES[1:], _values(plan, node)),
        mode=0o600,
        restarts=(UNIT,),
        validate=("/usr/sbin/nft", "--check", "--file", "%s"),
    )
    return (rules, Artefact(_UNIT_FILE, render(_UNIT_FILE[1:], {}), restarts=("daemon-reload", UNIT)))


def _values(plan: ClusterPlan, node: NodePlan) -> dict[str, object]:
    """What the template has holes for; a place without any address of a family has no rule: nft has no empty set."""
    own = openings(plan, node)
    pods = _named(plan, ("pods",))
    own_families = {network.version for network in node.pod_ranges}
    foreign = [family for family in FAMILIES if plan.network.routed and family not in own_families]
    return {
        "ranges": list(_ranges(plan, node)),
        "own_pods": [
            {"interface": POD_INTERFACE, "family": _NAMES[family], "range": f"own_pods{family}"}
            for family in FAMILIES
            if family in own_families
        ],
        "foreign_families": [{"interface": POD_INTERFACE, "protocol": _PROTOCOLS[family]} for family in foreign],
        "translated": _named(plan, _TRANSLATED),
        "own_ports": _ports(own),
        "from_pods": list(_rules(plan, own, ("pods",))),
        "from_elsewhere": list(_rules(plan, own, tuple(place for place in PLACES if place != "pods"))),
        "pods": pods,
        "nodes_to_pods": [
            {"family": nodes["family"], "nodes": nodes["range"], "pods": each["range"]}
            for nodes in _named(plan, ("nodes",))
            for each in pods
            if nodes["family"] == each["family"]
        ],
    }


def _ranges(plan: ClusterPlan, node: NodePlan) -> Iterator[dict[str, object]]:
    networks: dict[str, Iterable[IPNetwork]] = {_variable(place): members(plan, place) for place in PLACES}
    networks |= {"own_pods": node.pod_ranges, "metadata": [ip_network(address) for address in METADATA_ADDRESSES]}
    for name, listed in networks.items():
        for family in FAMILIES:
            if elements := [_element(network) for network in of_family(listed, family)]:
                yield {"name": f"{name}{family}", "elements": ", ".join(elements)}


def _variable(place: Place) -> str:
    """Variables of nft have no hyphens."""
    return place.replace("-", "_")


def _element(network: IPNetwork) -> str:
    return str(network.network_address if network.num_addresses == 1 else network)


def _named(plan: ClusterPlan, places: Iterable[Place]) -> Rows:
    return [
        {"family": _NAMES[family], "range": f"{_variable(place)}{family}"}
        for place in places
        for family in FAMILIES
        if of_family(members(plan, place), family)
    ]


def _ports(own: tuple[Opening, ...]) -> Rows:
    """Each protocol's ports."""
    ports = sorted({(opening.protocol, opening.port) for opening in own})
    return [
        {"protocol": protocol, "ports": ", ".join(str(port) for _, port in group)}
        for protocol, group in groupby(ports, key=lambda pair: pair[0])
    ]


def _rules(plan: ClusterPlan, own: tuple[Opening, ...], places: tuple[Place, ...]) -> Iterator[dict[str, object]]:
    for opening in own:
        for source in _named(plan, (place for place in opening.places if place in places)):
            yield source | {"protocol": opening.protocol, "port": opening.port}
