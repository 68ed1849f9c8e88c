"""The lab's bridge on the host. Nodes talk to each other and to the host, and to nobody else: there is no NAT."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.errors import RefusedError
from kharden.lab.model import bridge_name
from kharden.lab.programs import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kharden.lab.model import Lab

_LINKS = Path("/sys/class/net")


def check_subnet(lab: Lab, others: Iterable[tuple[str, IPv4Network]]) -> None:
    """Refuse a subnet that another lab (`others`: name, subnet) or a route of this host overlaps.

    Raises:
        RefusedError: it does, or the bridge's name is taken by another interface.
    """
    for name, subnet in others:
        if name != lab.name and subnet.overlaps(lab.subnet):
            raise RefusedError(
                f"lab {lab.name}: {lab.subnet} overlaps {subnet} of the lab {name}",
                remedy="choose another subnet, or take that lab down",
            )
    bridge = bridge_name(lab.name)
    for interface, route in host_routes():
        if interface != bridge and route.overlaps(lab.subnet):
            raise RefusedError(
                f"lab {lab.name}: {lab.subnet} overlaps the route to {route} by {interface} of this machine",
                remedy="choose another subnet",
            )
    if has_link(bridge) and not (_LINKS / bridge / "bridge").is_dir():
        raise RefusedError(f"{bridge}: this interface is not the lab's bridge", remedy="rename the lab")


def host_routes() -> tuple[tuple[str, IPv4Network], ...]:
    """(interface, network) of the host's routes in all tables, but the default ones."""
    routes = json.loads(
        run(["ip", "-json", "-4", "route", "show", "table", "all"], what="reading the host's routes") or "[]"
    )
    return tuple(
        (str(route.get("dev", "?")), IPv4Network(ip_network(route["dst"])))
        for route in routes
        if route["dst"] != "default"
    )


def has_link(name: str) -> bool:
    """Whether the host has this interface."""
    return (_LINKS / name).exists()


def make_bridge(lab: Lab) -> None:
    """Make the bridge where it is missing; with its address and up."""
    bridge, what = bridge_name(lab.name), f"making the bridge of the lab {lab.name}"
    if not has_link(bridge):
        run(["ip", "link", "add", bridge, "type", "bridge"], what=what)
    run(["ip", "address", "replace", f"{lab.gateway}/{lab.subnet.prefixlen}", "dev", bridge], what=what)
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
