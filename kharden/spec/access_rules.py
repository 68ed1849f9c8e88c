"""Rules about who is let in; see `kharden.spec.rules`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import combinations
from typing import TYPE_CHECKING

from kharden.spec.problems import Finding, KeyPath, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.spec.model import Cluster
    from kharden.spec.network_rules import Rule
    from kharden.spec.types import IPAddress, IPNetwork

_ACCESS: KeyPath = ("spec", "access")
# Ports of TCP on which kharden's own programs listen on a node, some of them on loopback alone.
_OWN_PORTS = {
    2379: "etcd",
    2380: "etcd",
    2381: "etcd",
    6443: "the API server",
    7443: "the balancer",
    10248: "the kubelet",
    10249: "the service proxy",
    10250: "the kubelet",
    10256: "the service proxy",
    10257: "the controller manager",
    10259: "the scheduler",
}


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

    Outside the lab only a jump host's address in the nodes' own range is surely the one that they see; see
    `outer_jump_hosts`. There each node looks at the connection that it has, before anything is changed.
    """
    home = cluster.spec.network.node_cidrs[0]
    if cluster.spec.lab and home.num_addresses > 1 and any(node.ssh.jump_host is None for node in cluster.spec.nodes):
        yield from _locked_out(cluster, "the bridge", home[1])
    for name, address in _jump_hosts(cluster):
        if cluster.spec.lab or _is_inside(cluster, address):
            yield from _locked_out(cluster, name, address)


def outer_jump_hosts(cluster: Cluster) -> Iterator[tuple[str, IPAddress]]:
    """Those on the nodes' way whose address nobody lets in, and which may have another one on their inner side."""
    for name, address in _jump_hosts(cluster):
        if not (cluster.spec.lab or _is_inside(cluster, address) or _is_let_in(cluster, address)):
            yield name, address


def _jump_hosts(cluster: Cluster) -> Iterator[tuple[str, IPAddress]]:
    """From which a node is reached; of one that is given by its name nobody knows the address."""
    asked = {node.ssh.jump_host for node in cluster.spec.nodes}
    for host in cluster.spec.jump_hosts:
        if host.name in asked and isinstance(host.address, IPv4Address | IPv6Address):
            yield host.name, host.address


def _is_inside(cluster: Cluster, address: IPAddress) -> bool:
    return any(address in network for network in cluster.spec.network.node_cidrs)


def _is_let_in(cluster: Cluster, address: IPAddress) -> bool:
    return any(address in network for network in cluster.spec.access.ssh)


def _locked_out(cluster: Cluster, whose: str, address: IPAddress) -> Iterator[Finding]:
    if not _is_let_in(cluster, address):
        nodes = "the lab's nodes" if cluster.spec.lab else f"the nodes behind {whose}"
        message = f"this machine couldn't reach {nodes} any more: the list lacks the address of {whose}"
        yield Finding((*_ACCESS, "ssh"), message, f"add {address}/{address.max_prefixlen}")


def ssh_is_for_more_than_pods(cluster: Cluster) -> Iterator[Finding]:
    """A node never takes a pod's connection for ssh, whatever list has its address."""
    for i, network in enumerate(cluster.spec.access.ssh):
        for j, pods in enumerate(cluster.spec.network.pod_cidrs):
            if _is_within(network, pods):
                message = f"this lets in nobody: it lies in spec.network.podCIDRs[{j}], and pods are never let in"
                yield Finding((*_ACCESS, "ssh", i), message, "write the addresses from which people and kharden come")


def jump_hosts_are_no_pods(cluster: Cluster) -> Iterator[Finding]:
    """What comes from elsewhere under a pod's or a service's address is dropped, so that way would be cut off."""
    network = cluster.spec.network
    taken = {"podCIDRs": network.pod_cidrs, "serviceCIDRs": network.service_cidrs}
    for i, host in enumerate(cluster.spec.jump_hosts):
        for key, ranges in taken.items():
            for j, one in enumerate(ranges):
                if isinstance(host.address, IPv4Address | IPv6Address) and host.address in one:
                    message = f"the firewall would cut off this machine: its address lies in spec.network.{key}[{j}]"
                    yield Finding(("spec", "jumpHosts", i, "address"), message, "choose another range or address")


def own_ports_are_free(cluster: Cluster) -> Iterator[Finding]:
    """Of sshd and what else would listen there only one starts."""
    for i, node in enumerate(cluster.spec.nodes):
        if node.ssh.port in _OWN_PORTS:
            message = f"this port is {_OWN_PORTS[node.ssh.port]}'s on every node"
            yield Finding(("spec", "nodes", i, "ssh", "port"), message, "choose another")


def _is_within(network: IPNetwork, other: IPNetwork) -> bool:
    if isinstance(network, IPv4Network) and isinstance(other, IPv4Network):
        return network.subnet_of(other)
    return isinstance(network, IPv6Network) and isinstance(other, IPv6Network) and network.subnet_of(other)


ACCESS_RULES: tuple[Rule, ...] = (
    allowed_ranges_are_apart,
    ssh_is_not_locked_out,
    ssh_is_for_more_than_pods,
    jump_hosts_are_no_pods,
    own_ports_are_free,
)
