"""Rules about how machines are reached; see `kharden.spec.rules`."""

from __future__ import annotations

from difflib import get_close_matches
from ipaddress import IPv4Address, IPv6Address
from itertools import chain
from typing import TYPE_CHECKING

from kharden.spec.network_rules import unusable
from kharden.spec.problems import Finding, KeyPath, duplicates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.spec.model import Cluster, JumpHost, Ssh
    from kharden.spec.network_rules import Rule

_NODES: KeyPath = ("spec", "nodes")
_JUMP_HOSTS: KeyPath = ("spec", "jumpHosts")
# ssh_config(5): "ProxyJump none" means no jump host at all; "localhost" is this machine.
_RESERVED_NAMES = frozenset({"none", "localhost"})


def _reached(cluster: Cluster) -> Iterator[tuple[KeyPath, Ssh | JumpHost]]:
    """Whatever ssh connects to, with the path of its section."""
    yield from (((*_NODES, i, "ssh"), node.ssh) for i, node in enumerate(cluster.spec.nodes))
    yield from (((*_JUMP_HOSTS, i), host) for i, host in enumerate(cluster.spec.jump_hosts))


def hosts_are_pinned(cluster: Cluster) -> Iterator[Finding]:
    """A person has confirmed the keys of machines outside the lab; without them anybody may answer in their place."""
    if cluster.spec.lab:
        return
    for path, ssh in _reached(cluster):
        if not ssh.host_keys:
            remedy = "run `invoke hosts.scan`, compare the keys with the machine's own, and write them here"
            yield Finding((*path, "hostKeys"), "this machine's host keys aren't pinned", remedy)


def the_lab_has_its_own_keys(cluster: Cluster) -> Iterator[Finding]:
    """It makes them before a machine's first boot."""
    if not cluster.spec.lab:
        return
    for path, ssh in _reached(cluster):
        for name, key in (("key", "key"), ("host_keys", "hostKeys")):
            if name in ssh.model_fields_set:
                yield Finding((*path, key), "the lab makes the keys of its machines itself", "remove it")


def host_keys_differ(cluster: Cluster) -> Iterator[Finding]:
    """Two machines with one key are copies of one image, or one of them is pinned by mistake."""
    keys = (((*path, "hostKeys", j), key) for path, ssh in _reached(cluster) for j, key in enumerate(ssh.host_keys))
    return duplicates(keys, "scan the keys again; make new ones on a machine that was copied from another")


def jump_hosts_exist(cluster: Cluster) -> Iterator[Finding]:
    """A node's jump host is one of the list."""
    names = [host.name for host in cluster.spec.jump_hosts]
    for i, node in enumerate(cluster.spec.nodes):
        wanted = node.ssh.jump_host
        if wanted is not None and wanted not in names:
            nearest = get_close_matches(wanted, names, n=1)
            remedy = f"write {nearest[0]}, or add it" if nearest else "add it there"
            yield Finding((*_NODES, i, "ssh", "jumpHost"), "there is no such machine in spec.jumpHosts", remedy)


def jump_hosts_are_used(cluster: Cluster) -> Iterator[Finding]:
    """One that isn't is a slip of the pen, or a way in that nobody needs any more."""
    used = {node.ssh.jump_host for node in cluster.spec.nodes}
    for i, host in enumerate(cluster.spec.jump_hosts):
        if host.name not in used:
            remedy = "name it in the ssh.jumpHost of a node, or remove it"
            yield Finding((*_JUMP_HOSTS, i, "name"), "no node is reached through this machine", remedy)


def jump_host_names_differ(cluster: Cluster) -> Iterator[Finding]:
    """By their names ssh knows nodes and jump hosts."""
    nodes = (((*_NODES, i, "name"), node.name) for i, node in enumerate(cluster.spec.nodes))
    hosts = (((*_JUMP_HOSTS, i, "name"), host.name) for i, host in enumerate(cluster.spec.jump_hosts))
    found = duplicates(chain(nodes, hosts), "give each jump host a name of its own")
    return (finding for finding in found if finding.path[:2] == _JUMP_HOSTS)


def jump_host_names_are_free(cluster: Cluster) -> Iterator[Finding]:
    """As for nodes: a name of digits alone is read as an address."""
    for i, host in enumerate(cluster.spec.jump_hosts):
        if host.name in _RESERVED_NAMES or host.name.isdigit():
            yield Finding((*_JUMP_HOSTS, i, "name"), "this name means something else to ssh", "choose another")


def jump_hosts_are_no_nodes(cluster: Cluster) -> Iterator[Finding]:
    """The ssh server of a node forwards nothing."""
    addresses = {str(address) for node in cluster.spec.nodes for address in (node.address, node.second_address)}
    for i, host in enumerate(cluster.spec.jump_hosts):
        if str(host.address) in addresses:
            remedy = "take a machine outside the cluster: nodes forward no connections"
            yield Finding((*_JUMP_HOSTS, i, "address"), "this is a node's address", remedy)


def jump_hosts_of_the_lab_have_addresses(cluster: Cluster) -> Iterator[Finding]:
    """They are on the nodes' bridge."""
    if not cluster.spec.lab:
        return
    home = cluster.spec.network.node_cidrs[0]
    addresses = (((*_JUMP_HOSTS, i, "address"), host.address) for i, host in enumerate(cluster.spec.jump_hosts))
    yield from duplicates(addresses, "give each machine an address of its own")
    for i, host in enumerate(cluster.spec.jump_hosts):
        path: KeyPath = (*_JUMP_HOSTS, i, "address")
        remedy = "choose a free one inside the first of the nodeCIDRs"
        if not isinstance(host.address, IPv4Address | IPv6Address) or host.address not in home:
            yield Finding(path, "in the lab this is no address of the nodes' network", remedy)
        elif host.address in (*unusable(home), home.network_address + 1):
            yield Finding(path, "this address is the network's own or its bridge's", remedy)


SSH_RULES: tuple[Rule, ...] = (
    hosts_are_pinned,
    the_lab_has_its_own_keys,
    host_keys_differ,
    jump_hosts_exist,
    jump_hosts_are_used,
    jump_host_names_differ,
    jump_host_names_are_free,
    jump_hosts_are_no_nodes,
    jump_hosts_of_the_lab_have_addresses,
)
