"""Rules about addresses and their ranges; see `kharden.spec.rules`."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import combinations
from typing import TYPE_CHECKING

from kharden.spec.problems import Finding, KeyPath, dotted, duplicates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kharden.spec.model import Cluster
    from kharden.spec.types import IPAddress, IPNetwork

    Rule = Callable[[Cluster], Iterator[Finding]]

# kubeadm's default sizes of a node's range of pods (validation.go, getClusterNodeMask) …
NODE_MASK = {4: 24, 6: 64}
# … and how many bits may lie between them and the whole (constants.go, PodSubnetNodeMaskMaxDiff).
_NODE_BITS = 16
# A service range has at most 20 bits (kube-apiserver's validateMaxCIDRRange, kubeadm's ValidateServiceSubnetSize). At
# least 8: DNS has the tenth address, and a range can't be enlarged later.
_SERVICE_BITS = (8, 20)
# Smaller ones have no address of their own and none for broadcasts (RFC 3021).
_POINT_TO_POINT_BITS = 1

# "This network", loopback, link-local and multicast (RFC 6890 and 5771; RFC 4291), IPv4 written as IPv6.
_SPECIAL = tuple(
    ip_network(one)
    for one in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "::/127",
        "::ffff:0:0/96",
        "fe80::/10",
        "ff00::/8",
    )
)


def _lists(cluster: Cluster) -> dict[str, tuple[IPNetwork, ...]]:
    network = cluster.spec.network
    return {"nodeCIDRs": network.node_cidrs, "podCIDRs": network.pod_cidrs, "serviceCIDRs": network.service_cidrs}


def _ranges(cluster: Cluster) -> Iterator[tuple[KeyPath, IPNetwork]]:
    for key, networks in _lists(cluster).items():
        for i, network in enumerate(networks):
            yield ("spec", "network", key, i), network


def families_agree(cluster: Cluster) -> Iterator[Finding]:
    """The first family is the one of the API server's address and of its service (kube-apiserver's validation.go)."""
    lists = {key: [network.version for network in networks] for key, networks in _lists(cluster).items()}
    doubled = [key for key, families in lists.items() if len(set(families)) < len(families)]
    for key in doubled:
        message = "both ranges are of one family"
        yield Finding(("spec", "network", key, 1), message, "keep one IPv4 range, one IPv6 range, or one of each")
    if doubled:
        return
    for key in ("podCIDRs", "serviceCIDRs"):
        if lists[key] != lists["nodeCIDRs"]:
            message = "the families aren't those of nodeCIDRs in their order"
            yield Finding(("spec", "network", key), message, "give all three lists the same families in one order")


def ranges_are_apart(cluster: Cluster) -> Iterator[Finding]:
    """An address must be a node's, a pod's or a service's."""
    for (path, network), (later, other) in combinations(_ranges(cluster), 2):
        if network.overlaps(other):
            yield Finding(later, f"this range overlaps {dotted(path)}", "choose ranges that share no address")


def ranges_are_usable(cluster: Cluster) -> Iterator[Finding]:
    """Kernels treat some ranges in their own way."""
    for path, network in _ranges(cluster):
        if any(network.overlaps(special) for special in _SPECIAL):
            message = "this range overlaps loopback, link-local or multicast addresses"
            yield Finding(path, message, "choose one of your own, for example within 10.0.0.0/8 or fd00::/8")


def every_node_has_pods(cluster: Cluster) -> Iterator[Finding]:
    """Each node that runs pods gets its own part of every pod range."""
    count = sum(node.role != "etcd" for node in cluster.spec.nodes)
    for i, network in enumerate(cluster.spec.network.pod_cidrs):
        path: KeyPath = ("spec", "network", "podCIDRs", i)
        mask = NODE_MASK[network.version]
        bits = mask - network.prefixlen
        if bits > _NODE_BITS:
            yield Finding(path, "this range is too large", f"write a prefix of /{mask - _NODE_BITS} or longer")
        elif bits < 0 or count > 1 << bits:
            needed = mask - (count - 1).bit_length()
            message = f"this range is too small: it has no /{mask} for each of {count} nodes"
            yield Finding(path, message, f"write a prefix of /{needed} or shorter")


def services_fit(cluster: Cluster) -> Iterator[Finding]:
    """Not more than the API server takes, and enough to grow."""
    least, most = _SERVICE_BITS
    for i, network in enumerate(cluster.spec.network.service_cidrs):
        length = network.max_prefixlen
        if not least <= length - network.prefixlen <= most:
            size = "large" if length - network.prefixlen > most else "small"
            remedy = f"write a prefix from /{length - most} to /{length - least}"
            yield Finding(("spec", "network", "serviceCIDRs", i), f"this range is too {size} for services", remedy)


def nodes_are_in_their_range(cluster: Cluster) -> Iterator[Finding]:
    """The address in the first one, whose family is the one that the API is reached by, the other in the second."""
    for i, node in enumerate(cluster.spec.nodes):
        given = (("address", node.address), ("secondAddress", node.second_address))
        for j, (home, (key, address)) in enumerate(zip(cluster.spec.network.node_cidrs, given, strict=False)):
            if address is None:
                continue
            wrong = _misplaced(address, home, f"spec.network.nodeCIDRs[{j}]", lab=cluster.spec.lab is not None)
            if wrong:
                yield Finding(("spec", "nodes", i, key), *wrong)


def _misplaced(address: IPAddress, home: IPNetwork, name: str, *, lab: bool) -> tuple[str, str] | None:
    """What is wrong with a node's address in that range, and what to do."""
    if address not in home:
        return f"this address isn't in {name}", "mend one of them"
    if address in unusable(home):
        return "this is the range's first or last address, which no node can have", "choose another"
    if lab and int(address) == int(home.network_address) + 1:
        return f"the lab's bridge has the first address of {name}", "choose another"
    return None


def nodes_have_an_address_of_each_family(cluster: Cluster) -> Iterator[Finding]:
    """A kubelet that is told of one address takes whatever it finds as the other, or registers without one."""
    homes = cluster.spec.network.node_cidrs
    two = len({home.version for home in homes}) > 1
    if len(homes) > 1 and not two:
        return  # what is wrong with that, `families_agree` says
    for i, node in enumerate(cluster.spec.nodes):
        path: KeyPath = ("spec", "nodes", i)
        if two and node.second_address is None:
            message = "with two families each node has two addresses, and this one lacks secondAddress"
            yield Finding(path, message, "add secondAddress, its address inside spec.network.nodeCIDRs[1]")
        elif not two and node.second_address is not None:
            message = "there is no second family: spec.network.nodeCIDRs has one range"
            remedy = "remove it, or give nodeCIDRs, podCIDRs and serviceCIDRs a second range each"
            yield Finding((*path, "secondAddress"), message, remedy)


def unusable(network: IPNetwork) -> tuple[IPAddress, ...]:
    """The network's own address (IPv6: the routers' anycast address, RFC 4291, 2.6.1), and the one for broadcasts."""
    if network.max_prefixlen - network.prefixlen <= _POINT_TO_POINT_BITS:
        return ()
    return (network[0],) if network.version == 6 else (network[0], network[-1])  # noqa: PLR2004  # IP version 6


def manifest_is_for_its_plugin(cluster: Cluster) -> Iterator[Finding]:
    """A file that nobody applies misleads."""
    network = cluster.spec.network
    path: KeyPath = ("spec", "network", "manifest")
    if network.plugin == "manifest" and network.manifest is None:
        yield Finding(path[:-1], "plugin: manifest needs a file", "add manifest with its path and sha256")
    elif network.plugin != "manifest" and network.manifest is not None:
        yield Finding(path, "only plugin: manifest has a file", "remove it, or write plugin: manifest")


def network_ports_differ(cluster: Cluster) -> Iterator[Finding]:
    """Each once, from each place."""
    ports = cluster.spec.network.ports
    values = ((("spec", "network", "ports", i), (one.protocol, one.port, one.source)) for i, one in enumerate(ports))
    return duplicates(values, "remove one")


NETWORK_RULES: tuple[Rule, ...] = (
    families_agree,
    ranges_are_apart,
    ranges_are_usable,
    every_node_has_pods,
    services_fit,
    nodes_are_in_their_range,
    nodes_have_an_address_of_each_family,
    manifest_is_for_its_plugin,
    network_ports_differ,
)
