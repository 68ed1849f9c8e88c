"""Rules that concern several fields of a valid `Cluster`: one small function each, all in `RULES`.

A rule yields findings and knows nothing of files; it names other fields by their paths, not by their values. It never
asks the clock, the network or a machine.
"""

from __future__ import annotations

from collections import Counter
from difflib import get_close_matches
from itertools import chain
from typing import TYPE_CHECKING

from kharden.spec.access_rules import ACCESS_RULES
from kharden.spec.artifact_rules import ARTIFACT_RULES
from kharden.spec.gate_rules import GATE_RULES
from kharden.spec.network_rules import NETWORK_RULES
from kharden.spec.object_rules import OBJECT_RULES
from kharden.spec.pki_rules import PKI_RULES
from kharden.spec.policy_rules import POLICY_RULES
from kharden.spec.problems import Finding, KeyPath, duplicates
from kharden.spec.ssh_rules import SSH_RULES, hosts_are_pinned
from kharden.versions.contract import SUPPORTED, Contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.spec.model import Cluster
    from kharden.spec.network_rules import Rule

# Ansible gives these a meaning of its own in an inventory; "kubernetes" is a name in every API server's certificate.
_RESERVED_NAMES = frozenset({"all", "ungrouped", "localhost", "kubernetes"})

_NODES: KeyPath = ("spec", "nodes")


def broken(cluster: Cluster, folder: str, *, pinned: bool = True) -> Iterator[Finding]:
    """What rules say against `cluster`, whose file lies in `folder` (its name alone).

    Without `pinned` host keys may still be missing: somebody is about to look at them.
    """
    if cluster.metadata.name != folder:
        remedy = "give the cluster its folder's name, or rename the folder"
        yield Finding(("metadata", "name"), "this isn't the name of the folder that this file is in", remedy)
    yield from chain.from_iterable(rule(cluster) for rule in RULES if pinned or rule is not hosts_are_pinned)


def node_names_differ(cluster: Cluster) -> Iterator[Finding]:
    """Names are lower-case by their type, so they can't differ by case alone."""
    names = (((*_NODES, i, "name"), node.name) for i, node in enumerate(cluster.spec.nodes))
    return duplicates(names, "give each node a name of its own")


def node_names_are_free(cluster: Cluster) -> Iterator[Finding]:
    """A name of digits alone is read as an address by inet_aton(3), so by ssh, ping and many more."""
    for i, node in enumerate(cluster.spec.nodes):
        if node.name in _RESERVED_NAMES or node.name.isdigit():
            yield Finding((*_NODES, i, "name"), "this name means something else to other programs", "choose another")


def node_addresses_differ(cluster: Cluster) -> Iterator[Finding]:
    """One machine is one node."""
    addresses = (
        ((*_NODES, i, key), address)
        for i, node in enumerate(cluster.spec.nodes)
        for key, address in (("address", node.address), ("secondAddress", node.second_address))
        if address is not None
    )
    return duplicates(addresses, "give each node an address of its own")


def control_planes_have_a_majority(cluster: Cluster) -> Iterator[Finding]:
    """A majority of etcd's members must live: of an even number no more may fail than of one less."""
    roles = Counter(node.role for node in cluster.spec.nodes)
    if not roles["control-plane"]:
        yield Finding(_NODES, "no node is a control plane", "give one or three of them the role control-plane")
    # API servers need no majority: where etcd is on machines of its own, two of them are one more than one.
    count, what = (roles["etcd"], "machines of etcd") if roles["etcd"] else (roles["control-plane"], "control planes")
    if count and count % 2 == 0:
        remedy = f"make it {count - 1} or {count + 1}: an even number survives no more failures than one less does"
        yield Finding(_NODES, f"{count} {what} are an even number", remedy)


def version_is_supported(cluster: Cluster) -> Iterator[Finding]:
    """Only what was tried."""
    if not Contract.of(cluster.spec.kubernetes.version).supported:
        remedy = f"choose a version of {', '.join(SUPPORTED[:-1])} or {SUPPORTED[-1]}"
        yield Finding(("spec", "kubernetes", "version"), "this minor version isn't supported", remedy)


def external_names_differ(cluster: Cluster) -> Iterator[Finding]:
    """A certificate names each once."""
    path: KeyPath = ("spec", "endpoint", "external")
    return duplicates((((*path, i), name) for i, name in enumerate(cluster.spec.endpoint.external)), "remove one")


def suites_name_machines(cluster: Cluster) -> Iterator[Finding]:
    """A name that nobody has would be a release that nobody gets."""
    spec = cluster.spec
    names = [*(node.name for node in spec.nodes), *(host.name for host in spec.jump_hosts)]
    for name in spec.lab.suites if spec.lab else ():
        if name not in names:
            nearest = get_close_matches(name, names, n=1)
            remedy = f"write {nearest[0]}" if nearest else "write the name of a node or a jump host"
            yield Finding(("spec", "lab", "suites", name), "no machine of this cluster has this name", remedy)


def recipients_differ(cluster: Cluster) -> Iterator[Finding]:
    """Within one store; one recipient may well open several."""
    recipients = cluster.spec.secrets.recipients
    for store in ("roots", "leaves", "data"):
        path: KeyPath = ("spec", "secrets", "recipients", store)
        yield from duplicates((((*path, i), one) for i, one in enumerate(getattr(recipients, store))), "remove one")


RULES: tuple[Rule, ...] = (
    version_is_supported,
    *GATE_RULES,
    node_names_differ,
    node_names_are_free,
    node_addresses_differ,
    *SSH_RULES,
    control_planes_have_a_majority,
    external_names_differ,
    *NETWORK_RULES,
    *PKI_RULES,
    *ACCESS_RULES,
    *POLICY_RULES,
    *ARTIFACT_RULES,
    recipients_differ,
    suites_name_machines,
    *OBJECT_RULES,
)
