"""Pods to try in a namespace with a quota: one that says nothing of resources, and one that asks for too much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kharden.observe.pods import restricted
from kharden.spec.quantities import amount

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan
    from kharden.plan.objects import NamespacePlan

SILENT = "a pod without limits"
GREEDY = "a pod over the quota"


def bounded(plan: ClusterPlan) -> tuple[NamespacePlan, ...]:
    """Namespaces in which that can be tried."""
    return tuple(one for one in plan.namespaces if one.quota and one.limits)


def title(what: str, namespace: NamespacePlan) -> str:
    """What a person calls such a pod; also its key in a request."""
    return f"{what} in {namespace.name}"


def trials(plan: ClusterPlan) -> dict[str, dict[str, Any]]:
    """Title → where it is tried and the pod as the API takes it."""
    found = {}
    for namespace in bounded(plan):
        path = f"/api/v1/namespaces/{namespace.name}/pods"
        for what, pod in ((SILENT, _asking_nothing(namespace)), (GREEDY, _asking_too_much(namespace))):
            found[title(what, namespace)] = {"path": path, "body": pod}
    return found


def _asking_nothing(namespace: NamespacePlan) -> dict[str, Any]:
    pod = restricted()
    pod["metadata"]["namespace"] = namespace.name
    return pod


def _asking_too_much(namespace: NamespacePlan) -> dict[str, Any]:
    """As many of the largest containers as together ask for more than the quota has; each alone may be."""
    if namespace.limits is None:
        raise ValueError(namespace.name)
    largest, hard = dict(namespace.limits.largest), dict(namespace.quota)
    counts = [
        int(amount(hard[f"limits.{name}"]) / amount(largest[name])) + 1 for name in largest if amount(largest[name])
    ]
    pod = _asking_nothing(namespace)
    (container,) = pod["spec"]["containers"]
    asking = container | {"resources": {"limits": largest, "requests": dict.fromkeys(largest, "0")}}
    pod["spec"]["containers"] = [asking | {"name": f"tried-{number}"} for number in range(min(counts, default=1))]
    return pod
