"""Specification → namespaces and the marks of nodes, every default resolved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.plan.objects import CONTROL_PLANE_TAINT, Block, FlowPlan, LimitsPlan, NamespacePlan, TaintPlan
from kharden.spec.object_rules import METADATA

if TYPE_CHECKING:
    from kharden.spec.model import Node, Spec
    from kharden.spec.namespaces import Flow, Limits, Namespace
    from kharden.spec.types import IPNetwork

ZONE = "topology.kubernetes.io/zone"
_ROLE = "node-role.kubernetes.io"

# What spec.namespaces[].quota.hard says of its defaults. NodePort and LoadBalancer are ways in from
# outside.
_QUOTA = {
    "limits.cpu": "8",
    "limits.memory": "16Gi",
    "persistentvolumeclaims": "10",
    "pods": "50",
    "requests.cpu": "4",
    "requests.memory": "8Gi",
    "requests.storage": "100Gi",
    "services.loadbalancers": "0",
    "services.nodeports": "0",
}

# Every namespace that a new cluster has, its Pod Security level and the reason for it.
_SYSTEM = (
    ("kube-system", "privileged", "Static pods and the service proxy are parts of the machine and need what it has."),
    ("kube-node-lease", "restricted", "Nothing runs here."),
    ("kube-public", "restricted", "Nothing runs here."),
)


def namespaces(spec: Spec, level: str) -> tuple[NamespacePlan, ...]:
    """Those of every cluster first, then those that the specification lists, in its order.

    Args:
        spec: the specification.
        level: the Pod Security Standard where a namespace has no label of its own.
    """
    system = [NamespacePlan(*row) for row in _SYSTEM]
    system.append(NamespacePlan("default", level, "The level of admission.podSecurity.", default_deny=True))
    return (*system, *(_namespace(one) for one in spec.namespaces))


def _namespace(given: Namespace) -> NamespacePlan:
    return NamespacePlan(
        name=given.name,
        pod_security=given.pod_security,
        reason="The level of its podSecurity in cluster.yaml.",
        quota=tuple(sorted((_QUOTA | given.quota.hard).items())),
        limits=_limits(given.limits),
        default_deny=given.default_deny,
        flows=tuple(_flow(number, flow) for number, flow in enumerate(given.allow, 1)),
        given=True,
    )


def _limits(given: Limits) -> LimitsPlan:
    default, request, largest = (
        (("cpu", part.cpu), ("memory", part.memory)) for part in (given.default, given.default_request, given.max)
    )
    return LimitsPlan(default, request, largest)


def _flow(number: int, flow: Flow) -> FlowPlan:
    return FlowPlan(
        name=f"allow-{flow.direction}-{number}",
        direction=flow.direction,
        namespaces=flow.namespaces,
        blocks=tuple(_block(network, flow) for network in flow.cidrs),
        ports=tuple((port.protocol, port.port) for port in flow.ports),
    )


def _block(network: IPNetwork, flow: Flow) -> Block:
    """A range without nodes' metadata addresses: nothing in a pod may ask a cloud for the machine's credentials."""
    if flow.direction == "ingress":
        return Block(network, ())
    return Block(network, tuple(own for own in METADATA if own.version == network.version and own.subnet_of(network)))  # type: ignore[arg-type]  # of one version


def labels(node: Node) -> tuple[tuple[str, str], ...]:
    """All labels that kharden sets on a node: its role, its zone, and those of the specification."""
    if node.role == "etcd":
        return ()  # no node of Kubernetes
    zone = {ZONE: node.zone} if node.zone else {}
    return tuple(sorted(({f"{_ROLE}/{node.role}": ""} | zone | node.labels).items()))


def taints(node: Node) -> tuple[TaintPlan, ...]:
    """All taints that kharden sets on a node: kubeadm's own of control planes, and those of the specification."""
    own = (TaintPlan(CONTROL_PLANE_TAINT, "", "NoSchedule"),) if node.role == "control-plane" else ()
    return (*own, *(TaintPlan(taint.key, taint.value, taint.effect) for taint in node.taints))
