"""Rules about who is let in; see `kharden.spec.rules`."""

from __future__ import annotations

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
    """This machine reaches the nodes of a lab from the bridge, which has the first address of their range."""
    home = cluster.spec.network.node_cidrs[0]
    if not cluster.spec.lab or home.num_addresses == 1:
        return
    bridge = home[1]
    if not any(bridge in network for network in cluster.spec.access.ssh):
        message = "this machine couldn't reach the lab's nodes any more: the list lacks the bridge's address"
        yield Finding((*_ACCESS, "ssh"), message, f"add {bridge}/{bridge.max_prefixlen}")


ACCESS_RULES: tuple[Rule, ...] = (
    allowed_ranges_are_apart,
    ssh_is_not_locked_out,
)
