"""What the cluster itself is told, as values: namespaces, and how nodes are marked. `kharden.plan.marks` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kharden.spec.types import IPNetwork  # noqa: TC001  # pydantic reads it at run time

# The group of people with a certificate of an hour; bound to cluster-admin.
ADMINISTRATORS = "kharden:administrators"
# On every object that kharden applies, and on which it is; together with the field manager they say what it may remove.
MANAGED_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "kharden"
PLACED_ANNOTATION = "kharden.dev/placed"
# A ConfigMap of kube-system: which taints of each node are kharden's. The API keeps no owner of a single taint, and
# what lies on the Node itself its own kubelet could write.
TAINTS_RECORD = "kharden-taints"
# kubeadm's own.
CONTROL_PLANE_TAINT = "node-role.kubernetes.io/control-plane"
# The name of the ResourceQuota and of the LimitRange in each namespace.
OBJECT_NAME = "kharden"


@dataclass(frozen=True, slots=True)
class TaintPlan:
    """A taint of a node; `value` may be empty."""

    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


@dataclass(frozen=True, slots=True)
class Block:
    """A range of addresses without the parts in `exceptions`."""

    network: IPNetwork
    exceptions: tuple[IPNetwork, ...]


@dataclass(frozen=True, slots=True)
class FlowPlan:
    """Traffic that is let through, by a NetworkPolicy of this name.

    Attributes:
        ports: protocol and number.
    """

    name: str
    direction: Literal["ingress", "egress"]
    namespaces: tuple[str, ...]
    blocks: tuple[Block, ...]
    ports: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class LimitsPlan:
    """What one container may use: resource and amount, as the API server writes it."""

    default: tuple[tuple[str, str], ...]
    request: tuple[tuple[str, str], ...]
    largest: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class NamespacePlan:
    """A namespace, as it shall be.

    Attributes:
        reason: why it has its Pod Security level.
        quota: resource and amount, as the API server writes it; empty: no quota.
        limits: None: no limits.
        default_deny: pods talk to nobody but DNS, and nobody to them, except for `flows`.
        given: the specification lists it; others are there in every cluster.
    """

    name: str
    pod_security: str
    reason: str
    quota: tuple[tuple[str, str], ...] = ()
    limits: LimitsPlan | None = None
    default_deny: bool = False
    flows: tuple[FlowPlan, ...] = ()
    given: bool = False
