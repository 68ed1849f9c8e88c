"""The lab's bridge on the host. Nodes talk to each other and to the host, and to nobody else: there is no NAT."""

from __future__ import annotations

import json
from ipaddress import ip_network
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.errors import RefusedError
from kharden.lab.model import bridge_name
from kharden.lab.programs import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kharden.lab.model import IPNetwork, Lab

_SETTINGS = Path("/proc/sys/net/ipv6/conf")
_LINKS = Path("/sys/class/net")


def check_subnet(lab: Lab, others: Iterable[tuple[str, IPNetwork]]) -> None:
    """Refuse subnets that another lab (`others`: name, subnet) or a route of this host overlaps.

    Raises:
        RefusedError: it does, or the bridge's name is taken by another interface.
    """
    for (name, subnet), own in product(others, lab.subnets):
        if name != lab.name and _overlap(subnet, own):
            raise RefusedError(
                f"lab {lab.name}: {own} overlaps {subnet} of the lab {name}",
                remedy="choose another subnet, or take that lab down",
            )
    bridge = bridge_name(lab.name)
    for (interface, route), own in product(host_routes(), lab.subnets):
        if interface != bridge and _overlap(route, own):
            raise RefusedError(
                f"lab {lab.name}: {own} overlaps the route to {route} by {interface} of this machine",
                remedy="choose another subnet",
            )
    if has_link(bridge) and not (_LINKS / bridge / "bridge").is_dir():
        raise RefusedError(f"{bridge}: this interface is not the lab's bridge", remedy="rename the lab")


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def host_routes() -> tuple[tuple[str, IPNetwork], ...]:
    """(interface, network) of the host's routes in all tables, but the default ones."""
    return tuple(
        (str(route.get("dev", "?")), ip_network(route["dst"]))
        for family in ("-4", "-6")
        for route in json.loads(_listed(family) or "[]")
        if route["dst"] != "default"
    )


def _listed(family: str) -> str:
    return run(["ip", "-json", family, "route", "show", "table", "all"], what="reading the host's routes")


def has_link(name: str) -> bool:
    """Whether the host has this interface."""
    return (_LINKS / name).exists()


def make_bridge(lab: Lab) -> None:
    """Make the bridge where it is missing; with its addresses and up."""
    bridge, what = bridge_name(lab.name), f"making the bridge of the lab {lab.name}"
    if not has_link(bridge):
        run(["ip", "link", "add", bridge, "type", "bridge"], what=what)
    if lab.has_ipv6:
        # Nobody on it tells this machine of routes; and it has addresses also where new interfaces have none.
        for setting, value in (("accept_ra", "0"), ("disable_ipv6", "0")):
            (_SETTINGS / bridge / setting).write_text(value, encoding="ascii")
    for gateway, subnet in zip(lab.gateways, lab.subnets, strict=True):
        # Waiting until nobody else claims the address is for networks that others have access to.
        at_once = ["nodad"] if gateway.version == 6 else []  # noqa: PLR2004  # IP version 6
        run(["ip", "address", "replace", f"{gateway}/{subnet.prefixlen}", "dev", bridge, *at_once], what=what)
    run(["ip", "link", "set", bridge, "up"], what=what)


def remove_bridge(lab_name: str) -> None:
    """Remove the bridge, and the nodes' interfaces on it that the kernel has not removed yet."""
    bridge, what = bridge_name(lab_name), f"removing the bridge of the lab {lab_name}"
    if not has_link(bridge):
        return
    for port in sorted((_LINKS / bridge / "brif").iterdir()):
        if has_link(port.name):
            run(["ip", "link", "delete", port.name], what=what)
    run(["ip", "link", "delete", bridge], what=what)
