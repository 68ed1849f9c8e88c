"""Rules about what the cluster is told of its nodes (labels, taints) and about its namespaces."""

from __future__ import annotations

from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from kharden.spec.problems import Finding, KeyPath, duplicates
from kharden.spec.quantities import amount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.spec.model import Cluster
    from kharden.spec.namespaces import Limits
    from kharden.spec.network_rules import Rule

_NODES: KeyPath = ("spec", "nodes")
_NAMESPACES: KeyPath = ("spec", "namespaces")

# Where a cloud tells a machine who it is, credentials included; the last two are Amazon's and Google's.
METADATA = (
    IPv4Network("169.254.0.0/16"),
    IPv6Network("fe80::/10"),
    IPv6Network("fd00:ec2::254/128"),
    IPv6Network("fd20:ce::254/128"),
)

# Namespaces that every cluster has; flows may name them.
SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")

# Keys and domains that a person may set within Kubernetes' own domains
# (https://kubernetes.io/docs/reference/labels-annotations-taints/). node-restriction.kubernetes.io is kept from
# kubelets by the admission plugin NodeRestriction: what is to isolate a node belongs there.
_OPEN_KEYS = (
    "node.kubernetes.io/exclude-from-external-load-balancers",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
)
_OPEN_DOMAIN = "node-restriction.kubernetes.io"
_OWN_DOMAINS = ("kubernetes.io", "k8s.io", "kharden.dev")
_SAID_ELSEWHERE = {
    "topology.kubernetes.io/zone": "write it as the node's zone",
    "failure-domain.beta.kubernetes.io/zone": "write it as the node's zone",
    "kubernetes.io/hostname": "remove it: the kubelet sets it",
    "kubernetes.io/arch": "remove it: the kubelet sets it",
    "kubernetes.io/os": "remove it: the kubelet sets it",
}


def _reserved(key: str) -> bool:
    domain, _, word = key.rpartition("/")
    return bool(word) and any(domain == own or domain.endswith(f".{own}") for own in _OWN_DOMAINS)


def _another_label(key: str) -> str:
    if key in _SAID_ELSEWHERE:
        return _SAID_ELSEWHERE[key]
    if key.startswith("node-role.kubernetes.io/"):
        return "remove it: the node's role says it"
    for near in get_close_matches(key, _OPEN_KEYS, n=1, cutoff=0.8):
        return f"write {near}"
    return f"choose a domain of your own, or {_OPEN_DOMAIN}, which kubelets can't write to"


def labels_are_free(cluster: Cluster) -> Iterator[Finding]:
    """Kubernetes' own labels are set by what knows them; a wrong one misleads schedulers and controllers."""
    for i, node in enumerate(cluster.spec.nodes):
        for key in node.labels:
            if _reserved(key) and key not in _OPEN_KEYS and not key.startswith(f"{_OPEN_DOMAIN}/"):
                path = (*_NODES, i, "labels", key)
                yield Finding(path, "this label is not for people to set", _another_label(key))


def taints_are_free(cluster: Cluster) -> Iterator[Finding]:
    """Kubernetes' own taints come and go with a node's condition and role."""
    for i, node in enumerate(cluster.spec.nodes):
        for j, taint in enumerate(node.taints):
            if _reserved(taint.key) and not taint.key.startswith(f"{_OPEN_DOMAIN}/"):
                remedy = "remove it, or choose a domain of your own"
                yield Finding((*_NODES, i, "taints", j, "key"), "this taint is not for people to set", remedy)


def taints_differ(cluster: Cluster) -> Iterator[Finding]:
    """The API takes one taint of each key and effect."""
    for i, node in enumerate(cluster.spec.nodes):
        taints = (((*_NODES, i, "taints", j), (taint.key, taint.effect)) for j, taint in enumerate(node.taints))
        yield from duplicates(taints, "keep one taint of each key and effect")


def only_nodes_are_marked(cluster: Cluster) -> Iterator[Finding]:
    """A machine of etcd is no node of the cluster, so there is nothing in the API to mark."""
    for i, node in enumerate(cluster.spec.nodes):
        for key in ("labels", "taints") if node.role == "etcd" else ():
            if getattr(node, key):
                yield Finding((*_NODES, i, key), "a machine of role etcd is no node that could have these", "remove it")


def namespace_names_differ(cluster: Cluster) -> Iterator[Finding]:
    """Each namespace is described once."""
    names = (((*_NAMESPACES, i, "name"), one.name) for i, one in enumerate(cluster.spec.namespaces))
    return duplicates(names, "keep one of them")


def namespace_names_are_free(cluster: Cluster) -> Iterator[Finding]:
    """Kubernetes keeps the prefix kube- for itself; its namespaces and `default` are hardened without being listed."""
    for i, one in enumerate(cluster.spec.namespaces):
        if one.name in SYSTEM_NAMESPACES or one.name.startswith("kube-"):
            remedy = "choose another name; those of Kubernetes are hardened always"
            yield Finding((*_NAMESPACES, i, "name"), "this namespace is Kubernetes' own", remedy)


def limits_are_ordered(cluster: Cluster) -> Iterator[Finding]:
    """Request, default limit, largest limit: the API refuses any other order, pod by pod."""
    for i, one in enumerate(cluster.spec.namespaces):
        path: KeyPath = (*_NAMESPACES, i, "limits")
        for resource in ("cpu", "memory"):
            yield from _unordered(path, one.limits, resource)
            total = one.quota.hard.get(f"limits.{resource}")
            if total and amount(total) < amount(getattr(one.limits.default, resource)):
                remedy = "write more here, or less in limits.default"
                where = (*_NAMESPACES, i, "quota", "hard", f"limits.{resource}")
                yield Finding(where, "not one container with the default limit would fit", remedy)


def _unordered(path: KeyPath, limits: Limits, resource: str) -> Iterator[Finding]:
    request, default, largest = (
        amount(getattr(part, resource)) for part in (limits.default_request, limits.default, limits.max)
    )
    if request > default:
        remedy = "write at most what limits.default has"
        yield Finding((*path, "defaultRequest", resource), "this is more than the default limit", remedy)
    if default > largest:
        remedy = "write at most what limits.max has"
        yield Finding((*path, "default", resource), "this is more than the largest limit", remedy)


def flows_lead_somewhere(cluster: Cluster) -> Iterator[Finding]:
    """A flow without peers would allow all of them, and without a deny nothing has to be allowed."""
    for i, one in enumerate(cluster.spec.namespaces):
        if one.allow and not one.default_deny:
            remedy = "remove it, or remove defaultDeny: false"
            yield Finding((*_NAMESPACES, i, "allow"), "nothing is denied here, so nothing has to be allowed", remedy)
        for j, flow in enumerate(one.allow):
            if not flow.namespaces and not flow.cidrs:
                remedy = "name peers in namespaces or cidrs; 0.0.0.0/0 is everybody"
                yield Finding((*_NAMESPACES, i, "allow", j), "this flow has no peer", remedy)


def flow_namespaces_are_listed(cluster: Cluster) -> Iterator[Finding]:
    """Whoever may make the namespace that a flow names would get in: so it has to be one that is there."""
    known = [one.name for one in cluster.spec.namespaces] + list(SYSTEM_NAMESPACES)
    for i, one in enumerate(cluster.spec.namespaces):
        for j, flow in enumerate(one.allow):
            for k, name in enumerate(flow.namespaces):
                if name not in known:
                    near = get_close_matches(name, known, n=1)
                    remedy = f"write {near[0]}, or list the namespace" if near else "list it in spec.namespaces"
                    path = (*_NAMESPACES, i, "allow", j, "namespaces", k)
                    yield Finding(path, "there is no such namespace", remedy)


def flows_avoid_metadata(cluster: Cluster) -> Iterator[Finding]:
    """Who reaches a machine's metadata address gets that machine's credentials."""
    for i, one in enumerate(cluster.spec.namespaces):
        for j, flow in enumerate(one.allow):
            for k, network in enumerate(flow.cidrs):
                inside = any(network.version == own.version and network.subnet_of(own) for own in METADATA)  # type: ignore[arg-type]  # of one version
                if flow.direction == "egress" and inside:
                    path = (*_NAMESPACES, i, "allow", j, "cidrs", k)
                    yield Finding(path, "nodes' metadata addresses are never allowed", "remove it")


OBJECT_RULES: tuple[Rule, ...] = (
    labels_are_free,
    taints_are_free,
    taints_differ,
    only_nodes_are_marked,
    namespace_names_differ,
    namespace_names_are_free,
    limits_are_ordered,
    flows_lead_somewhere,
    flow_namespaces_are_listed,
    flows_avoid_metadata,
)
