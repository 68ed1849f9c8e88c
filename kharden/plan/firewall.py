"""Who reaches which port of a node, and why: the one table. Pure functions of plan and node.

What isn't here is dropped. Among it are the scheduler's 10259 and the controller manager's 10257, etcd's metrics on
2381, the service proxy's 10249 and 10256 and the local balancer's 7443, which are for the node itself on loopback.
Ports of Kubernetes: https://kubernetes.io/docs/reference/networking/ports-and-protocols/
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import TYPE_CHECKING, Literal

from kharden.plan.endpoints import API_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kharden.plan.model import ClusterPlan, NodePlan
    from kharden.spec.types import IPAddress, IPNetwork

Family = Literal[4, 6]
Protocol = Literal["tcp", "udp", "sctp"]
# Where a connection may come from: the cluster's nodes, its control planes, machines of etcd's own, its pods, or a list
# of spec.access. A machine of etcd is no node: what nodes are let in to isn't for it.
Place = Literal["nodes", "control-planes", "etcd", "pods", "api", "ssh", "node-ports"]

PLACES: tuple[Place, ...] = ("nodes", "control-planes", "etcd", "pods", "api", "ssh", "node-ports")
FAMILIES: tuple[Family, ...] = (4, 6)
KUBELET_PORT = 10250
ETCD_CLIENT_PORT = 2379
ETCD_PEER_PORT = 2380
# The interface behind which a node's own pods are, made by the bridge plugin.
POD_INTERFACE = "cni0"
# Where clouds answer machines about themselves, with credentials among it. Providers' documents: AWS, Azure, Google,
# OpenStack and more (IPv4); AWS (fd00:ec2::254) and Google (fd20:ce::254) by IPv6.
METADATA_ADDRESSES: tuple[IPAddress, ...] = (
    ip_address("169.254.169.254"),
    ip_address("fd00:ec2::254"),
    ip_address("fd20:ce::254"),
)


@dataclass(frozen=True, slots=True)
class Opening:
    """A port on which a node's own programs listen, from where it is reached, and what for."""

    port: int
    places: tuple[Place, ...]
    reason: str
    protocol: Protocol = "tcp"


def openings(plan: ClusterPlan, node: NodePlan) -> tuple[Opening, ...]:
    """The ports of a node; pods are let in only where they are named."""
    sshd = Opening(node.ssh.port, ("ssh",), "sshd, for people and for kharden")
    if node.role == "etcd":
        return (sshd, *_etcd(("control-planes", "etcd"), ("etcd",)))
    common = (
        sshd,
        # Not from pods: what collects metrics in one needs a port of spec.network.ports.
        Opening(KUBELET_PORT, ("control-planes",), "the API servers ask the kubelet for logs, exec and metrics"),
    )
    foreign = tuple(Opening(one.port, (one.source,), "spec.network.ports", one.protocol) for one in plan.network.ports)
    if node.role == "worker":
        return (*common, *foreign)
    return (
        *common,
        *foreign,
        # A pod's way to the API's service address ends here, with the pod's own address.
        Opening(API_PORT, ("nodes", "pods", "api"), "the API: kubelets, balancers, pods, and spec.access.api"),
        *(_etcd(("control-planes",), ("control-planes",)) if node.etcd else ()),
    )


def _etcd(clients: tuple[Place, ...], peers: tuple[Place, ...]) -> tuple[Opening, ...]:
    """Ports of a member. Members are clients of each other: one that joins or restarts asks how the others are."""
    return (
        Opening(ETCD_CLIENT_PORT, clients, "etcd's clients: API servers, and members that ask how the others are"),
        Opening(ETCD_PEER_PORT, peers, "etcd's members among themselves"),
    )


class _ThisPlan:
    """A plan as a key, by its identity: to hash all that it holds would take longer than what is remembered."""

    __slots__ = ("plan",)

    def __init__(self, plan: ClusterPlan) -> None:
        self.plan = plan

    def __hash__(self) -> int:
        return id(self.plan)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ThisPlan) and other.plan is self.plan


def members(plan: ClusterPlan, place: Place) -> tuple[IPNetwork, ...]:
    """The addresses of a place, of both families, without what other ranges of it hold."""
    return _members(_ThisPlan(plan), place)


@lru_cache(len(PLACES))  # of one plan: each node is held against all of them
def _members(this: _ThisPlan, place: Place) -> tuple[IPNetwork, ...]:
    plan = this.plan
    networks: dict[Place, Iterable[IPNetwork]] = {
        "nodes": (_alone(address) for node in plan.kubelets for address in node.addresses),
        "control-planes": (_alone(address) for node in plan.control_planes for address in node.addresses),
        "etcd": (_alone(address) for node in plan.etcd_machines for address in node.addresses),
        "pods": plan.pod_cidrs,
        "api": plan.access.api,
        "ssh": plan.access.ssh,
        "node-ports": plan.access.node_ports,
    }
    return collapsed(networks[place])


def admits(plan: ClusterPlan, places: tuple[Place, ...], address: IPAddress) -> bool:
    """Whether an address is of one of these places."""
    return any(address in network for place in places for network in members(plan, place))


def collapsed(networks: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """The same addresses in as few ranges as can be, IPv4 first: nftables refuses sets in which ranges overlap."""
    listed = tuple(networks)
    return (
        *collapse_addresses(network for network in listed if isinstance(network, IPv4Network)),
        *collapse_addresses(network for network in listed if isinstance(network, IPv6Network)),
    )


def of_family(networks: Iterable[IPNetwork], family: Family) -> tuple[IPNetwork, ...]:
    """Those of one family."""
    return tuple(network for network in networks if network.version == family)


def _alone(address: IPAddress) -> IPNetwork:
    return ip_network(address)
