"""Objects of the cluster itself, applied on the server's side once it is up."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from kharden.plan.objects import ADMINISTRATORS, MANAGED_LABEL, MANAGER, OBJECT_NAME, PLACED_ANNOTATION, TAINTS_RECORD
from kharden.render.text import render

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan, NodePlan
    from kharden.plan.objects import FlowPlan, LimitsPlan, NamespacePlan


@dataclass(frozen=True, slots=True)
class Manifest:
    """Objects of the cluster: a file name and its YAML."""

    name: str
    content: bytes


def manifest_location(manifest: Manifest) -> str:
    """Where it lies below build/<cluster>/."""
    return f"cluster/{manifest.name}"


def cluster_manifests(plan: ClusterPlan) -> tuple[Manifest, ...]:
    """Namespaces with their Pod Security labels and everything that hardens them, and the marks of nodes."""
    own = {"managed_label": MANAGED_LABEL, "manager": MANAGER, "placed_annotation": PLACED_ANNOTATION}
    closed = [one for one in plan.namespaces if one.default_deny]
    files: dict[str, dict[str, object]] = {
        "namespaces.yaml": {"namespaces": [_labelled(one) for one in plan.namespaces], "version": f"v{plan.minor}"},
        "administrators.yaml": {"group": ADMINISTRATORS},
        "service-accounts.yaml": {"namespaces": plan.namespaces},
        "network-policies.yaml": {
            "denials": [_head("NetworkPolicy", one, "default-deny") for one in closed],
            "lookups": [_head("NetworkPolicy", one, "allow-dns") for one in closed],
            "flows": [_head("NetworkPolicy", one, flow.name) | _flow(flow) for one in closed for flow in one.flows],
        },
        "quotas.yaml": {
            "quotas": [
                _head("ResourceQuota", one, OBJECT_NAME) | {"hard": dict(one.quota)}
                for one in plan.namespaces
                if one.quota
            ],
            "ranges": [
                _head("LimitRange", one, OBJECT_NAME) | _limits(one.limits) for one in plan.namespaces if one.limits
            ],
        },
        "nodes.yaml": {"nodes": [_marked(node) for node in plan.kubelets], "taints_record": TAINTS_RECORD},
    }
    return tuple(Manifest(name, render(f"cluster/{name}", own | values)) for name, values in files.items())


def _labelled(namespace: NamespacePlan) -> dict[str, object]:
    return {
        "name": namespace.name,
        "reason": namespace.reason,
        "pod_security": namespace.pod_security,
        "placed": f"Namespace//{namespace.name}",
    }


def _head(kind: str, namespace: NamespacePlan, name: str) -> dict[str, object]:
    placed = f"{kind}/{namespace.name}/{name}"
    return {"kind": kind, "namespace": namespace.name, "name": name, "placed": placed}


def _flow(flow: FlowPlan) -> dict[str, object]:
    peers: list[dict[str, object]] = []
    if flow.namespaces:
        names = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(flow.namespaces)}
        peers.append({"namespaceSelector": {"matchExpressions": [names]}})
    for block in flow.blocks:
        exceptions = {"except": [str(one) for one in block.exceptions]} if block.exceptions else {}
        peers.append({"ipBlock": {"cidr": str(block.network)} | exceptions})
    return {
        "types": [flow.direction.capitalize()],
        "direction": flow.direction,
        "side": "from" if flow.direction == "ingress" else "to",
        "peers": peers,
        "ports": [{"protocol": protocol, "port": port} for protocol, port in flow.ports],
    }


def _limits(limits: LimitsPlan) -> dict[str, object]:
    return {name: dict(getattr(limits, name)) for name in ("default", "request", "largest")}


def _marked(node: NodePlan) -> dict[str, object]:
    return {
        "name": node.name,
        "labels": dict(node.labels),
        "taints": [asdict(taint) for taint in node.taints],
        "record": json.dumps([str(taint) for taint in node.taints]),
    }


def network_manifest(content: bytes | None) -> tuple[Manifest, ...]:
    """The user's network plugin, as it is; where it stands among others, its first document begins with a marker."""
    return () if content is None else (Manifest("network.yaml", b"---\n" + content),)
