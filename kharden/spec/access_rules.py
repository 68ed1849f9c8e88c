"""Rules about who is let in; see `kharden.spec.rules`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from itertools import combinations
from typing import TYPE_CHECKING

from kharden.spec.problems import Finding, KeyPath, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.spec.model import Cluster
    from kharden.spec.network_rules import Rule
    from kharden.spec.types import IPNetwork

_ACCESS: KeyPath = ("spec", "access")


def allowed_ranges_are_apart(cluster: Cluster) -> Iterator[Finding]:
    """Taking one of two overlapping ranges away would change less than it seems."""
    access = cluster.spec.access
    lists: dict[str, tuple[IPNetwork, ...]] = {"api": access.api, "ssh": access.ssh, "nodePorts": access.node_ports}
    for key, networks in lists.items():
        for (i, network), (j, other) in combinations(enumerate(networks), 2):
            if network.overlaps(other):
                message = f"this range overlaps {dotted((*_ACCESS, key, i))}"
                yield Finding((*_ACCESS, key, j), message, "keep one of them, the one that holds all you mean")


def ssh_is_not_locked_out(cluster: Cluster) -> Iterator[Finding]:
    """This machine reaches the nodes of a lab from the bridge (the first address of their range), or over jump hosts.

    Outside the lab nobody can tell from here: a jump host may have another address on its inner side. There each node
    looks at the connection that it has, before anything is changed.
    """
    home = cluster.spec.network.node_cidrs[0]
    if not cluster.spec.lab or home.num_addresses == 1:
        return
    ways = {None: ("the bridge", home[1])} | {host.name: (host.name, host.address) for host in cluster.spec.jump_hosts}
    for name in dict.fromkeys(node.ssh.jump_host for node in cluster.spec.nodes):
        whose, address = ways.get(name, ("", ""))
        if isinstance(address, IPv4Address | IPv6Address) and not any(
            address in network for network in cluster.spec.access.ssh
        ):
            message = f"this machine couldn't reach the lab's nodes any more: the list lacks the address of {whose}"
            yield Finding((*_ACCESS, "ssh"), message, f"add {address}/{address.max_prefixlen}")


ACCESS_RULES: tuple[Rule, ...] = (
    allowed_ranges_are_apart,
    ssh_is_not_locked_out,
)
