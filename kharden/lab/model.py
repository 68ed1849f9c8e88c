"""The values of the lab: what one is, what it would change on the host, and how it stands."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from kharden.errors import InputError

if TYPE_CHECKING:
    from datetime import datetime
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    IPAddress = IPv4Address | IPv6Address
    IPNetwork = IPv4Network | IPv6Network

Suite = Literal["trixie", "bookworm"]
NodeState = Literal["running", "stopped", "absent"]

# RFC 1123 label, as Kubernetes names nodes.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# linux/if.h IFNAMSIZ is 16 with the closing NUL; hostname(7): 64.
_INTERFACE_LENGTH = 15
_MACHINE_LENGTH = 64
_MARK_LENGTH = 6


@dataclass(frozen=True, slots=True)
class LabNode:
    """One machine of a lab: a node of the cluster, or a jump host on the way to one.

    Attributes:
        name: its host name.
        address: its address within the lab's subnet.
        user: who logs in by ssh; another than root is made, and root can't log in then.
        port: of its ssh server.
        sudo: whether that user may become root, without a password.
        second_address: its address within the lab's second subnet, if it has one there.
        suite: the Debian release inside it.
    """

    name: str
    address: IPAddress
    user: str = "root"
    port: int = 22
    sudo: bool = field(default=True, kw_only=True)
    suite: Suite = field(default="trixie", kw_only=True)
    second_address: IPAddress | None = field(default=None, kw_only=True)

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """One of each of the lab's subnets, in their order."""
        return (self.address,) if self.second_address is None else (self.address, self.second_address)


@dataclass(frozen=True, slots=True)
class Lab:
    """Nodes on this machine that share a bridge.

    Attributes:
        name: an RFC 1123 label; the bridge, the machines and the state folder are named after it.
        subnet: the nodes' network; the bridge takes its first address.
        second_subnet: one of the other family beside it.
        nodes: in the order of the spec, jump hosts last.

    Raises:
        InputError: a name or an address that can't be used.
    """

    name: str
    subnet: IPNetwork
    nodes: tuple[LabNode, ...]
    second_subnet: IPNetwork | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in (self.name, *(node.name for node in self.nodes)):
            check_name(name)
        names: set[str] = set()
        for node in self.nodes:
            if node.name in names:
                raise InputError(f"lab {self.name}: two nodes are called {node.name}", remedy="rename one")
            names.add(node.name)
        for number, subnet in enumerate(self.subnets):
            self._check_addresses(number, subnet)

    def _check_addresses(self, number: int, subnet: IPNetwork) -> None:
        taken: dict[object, str] = {
            subnet.network_address: "the network's own address",
            subnet[1]: "the bridge's address",
        }
        if subnet.version == 4:  # noqa: PLR2004  # IPv6 has no broadcasts
            taken[subnet.broadcast_address] = "the broadcast address"
        # A jump host may be in the first subnet alone.
        placed = ((node, node.addresses[number]) for node in self.nodes if number < len(node.addresses))
        for node, address in placed:
            if address not in subnet:
                raise InputError(
                    f"lab {self.name}: {node.name} has {address}, which is not in {subnet}",
                    remedy="choose an address of that subnet",
                )
            if address in taken:
                raise InputError(
                    f"lab {self.name}: {node.name} can't have {address}: that is {taken[address]}",
                    remedy="choose another address",
                )
            taken[address] = node.name

    @property
    def subnets(self) -> tuple[IPNetwork, ...]:
        """One of each family that it has, the nodes' own first."""
        return (self.subnet,) if self.second_subnet is None else (self.subnet, self.second_subnet)

    @property
    def gateways(self) -> tuple[IPAddress, ...]:
        """The bridge's addresses: the first one of each subnet."""
        return tuple(subnet[1] for subnet in self.subnets)

    @property
    def has_ipv6(self) -> bool:
        """Whether its nodes have addresses of IPv6."""
        return any(subnet.version == 6 for subnet in self.subnets)  # noqa: PLR2004  # IP version 6


@dataclass(frozen=True, slots=True)
class HostChange:
    """One thing that `up`, or a cluster on its nodes, changes on this machine.

    Attributes:
        kind: what sort of thing.
        name: the package, interface, module or sysctl.
        before: its value now; empty where it isn't there yet.
        after: its value then.
        reason: why, in plain words.
    """

    kind: Literal["package", "interface", "module", "sysctl"]
    name: str
    before: str
    after: str
    reason: str

    def __str__(self) -> str:
        """One plain line."""
        change = f"{self.before} → {self.after}" if self.before else self.after
        return f"{self.kind} {self.name}: {change} ({self.reason})"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How a node stands; `pid` and `since` are those of its container's supervisor on the host."""

    name: str
    address: IPAddress
    state: NodeState
    pid: int | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class LabStatus:
    """How a lab stands; no nodes where there is none of that name."""

    name: str
    nodes: tuple[NodeStatus, ...]


class Progress(Protocol):
    """Who wants to know how far `up` and `down` are."""

    def start(self, item: str) -> None:
        """`item` begins."""

    def done(self, item: str, seconds: float, cached: bool) -> None:  # noqa: FBT001  # called with keywords or not
        """`item` is done after `seconds`; `cached`: nothing had to be done for it."""


def check_name(name: str) -> None:
    """Refuse a name that is no label: folders, interfaces and machines are named after it.

    Raises:
        InputError: it is none.
    """
    if not _LABEL.fullmatch(name):
        raise InputError(
            f"{name!r} can't be the name of a lab or of its node",
            remedy="use lower-case letters, digits and inner hyphens, at most 63",
        )


def bridge_name(lab_name: str) -> str:
    """The lab's bridge: readable where it fits into an interface name, else shortened with a digest."""
    return _fitting(f"kh-{lab_name}", _INTERFACE_LENGTH)


def machine_name(lab_name: str, node_name: str) -> str:
    """The container's name on the host: labels hold no dots, so no two nodes of two labs share one."""
    return _fitting(f"{lab_name}.{node_name}", _MACHINE_LENGTH)


def _fitting(name: str, limit: int) -> str:
    if len(name) <= limit:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:_MARK_LENGTH]
    return f"{name[: limit - _MARK_LENGTH - 1].rstrip('-.')}-{mark}"
