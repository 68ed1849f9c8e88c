"""Pods of our own to connect from: which are made for a run of verify, and what is asked from within each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kharden.observe import pods
from kharden.observe.facts import Unobserved
from kharden.plan.endpoints import API_PORT

if TYPE_CHECKING:
    from kharden.observe.facts import Facts
    from kharden.observe.witnesses import Witnesses
    from kharden.plan.model import NodePlan

# From a pod of the namespace default: text → port of the cluster's DNS, which is allowed to it and which is not.
ALLOWED, DENIED = "from a pod of default to DNS, port 53", "from a pod of default to DNS, port 9153 (metrics)"
POLICY_TARGETS = {ALLOWED: 53, DENIED: 9153}
# The pod whose policies are tried; the others are where no policy of the plan keeps them from connecting.
_CLOSED_POD, _CLOSED, _OPEN = "kharden-verify", "default", "kube-system"


def making(witnesses: Witnesses, pause_image: str) -> dict[str, Any]:
    """The request to the first speaker to make them, and to find the cluster's DNS."""
    kubelets = [node for node in witnesses.nodes if node.kubelet]
    wanted = [{"name": _pod_of(node), "namespace": _OPEN, "node": node.name} for node in kubelets]
    wanted.append({"name": _CLOSED_POD, "namespace": _CLOSED, "node": witnesses.speakers[0].name})
    return _request(witnesses, {"wanted": wanted, "pod": pods.scratch_pod(pause_image)})


def removing(witnesses: Witnesses) -> dict[str, Any]:
    """The request to the first speaker to remove them all."""
    return _request(witnesses, None)


def _request(witnesses: Witnesses, made: dict[str, Any] | None) -> dict[str, Any]:
    asked = {"api_of": api_of(witnesses.speakers[0]), "namespaces": [_CLOSED, _OPEN], "made": made}
    return {"scratch_pods": asked}


def asking(
    witnesses: Witnesses, node: NodePlan, wanted: dict[str, Any], made: Facts | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request to a node for what its pods reach; and, by the answer's key, why a part of it can't be asked.

    Args:
        witnesses: who can be asked; the first that speaks has the pod whose policies are tried.
        node: who is asked.
        wanted: the attempts to make from its pod, as `kharden.observe.request.attempts` names them.
        made: what that speaker said of the pods; None where none were made, so that any pod will do.
    """
    if made is None:
        return {"within_pods": {"from_pod": {"uid": None, "asked": wanted}}}, {}
    asked: dict[str, Any] = {}
    lacking: dict[str, Any] = {}
    closed = {"policies": _CLOSED_POD} if node == witnesses.speakers[0] else {}
    for key, name in {"from_pod": _pod_of(node), **closed}.items():
        try:
            attempts = wanted if key == "from_pod" else _to_dns(made.at("scratch_pods", "dns").text())
            asked[key] = {"uid": made.at("scratch_pods", "pods", name, "uid").text(), "asked": attempts}
        except Unobserved as reason:
            lacking[key] = {"error": str(reason)}
    return {"within_pods": asked}, lacking


def _to_dns(address: str) -> dict[str, Any]:
    return {text: {"host": address, "port": port} for text, port in POLICY_TARGETS.items()}


def _pod_of(node: NodePlan) -> str:
    return f"kharden-verify-{node.name}"


def api_of(node: NodePlan) -> dict[str, Any]:
    """A control plane's own API server, not whichever the balancer takes: each has a configuration of its own."""
    return {"host": str(node.address), "port": API_PORT, "kubeconfig": "/etc/kubernetes/admin.conf"}
