"""The model of `spec.namespaces`: what a namespace may use, and who may talk to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kharden.spec.quantities import Quantity, QuotaResource
from kharden.spec.section import Section
from kharden.spec.types import Name, Network, Port


class Quota(Section):
    """What everything in the namespace may use together (a ResourceQuota)."""

    hard: dict[QuotaResource, Quantity] = Field(default={})
    """Amounts; what isn't said stays at its default: 4 CPUs and 8Gi requested, 8 CPUs and 16Gi as limits, 50 pods, 10
    claims of storage with 100Gi, no NodePort and no LoadBalancer service."""


class DefaultLimit(Section):
    """The limit of a container that doesn't say its own."""

    cpu: Quantity = "500m"
    """CPUs."""
    memory: Quantity = "512Mi"
    """Bytes."""


class DefaultRequest(Section):
    """What a container that doesn't say otherwise is sure to get."""

    cpu: Quantity = "100m"
    """CPUs."""
    memory: Quantity = "128Mi"
    """Bytes."""


class LargestLimit(Section):
    """The largest limit that a container may ask for."""

    cpu: Quantity = "2"
    """CPUs."""
    memory: Quantity = "4Gi"
    """Bytes."""


class Limits(Section):
    """What one container of the namespace may use (a LimitRange)."""

    default: DefaultLimit = DefaultLimit()
    """The limit of a container that doesn't say its own."""
    default_request: DefaultRequest = DefaultRequest()
    """What a container that doesn't say otherwise is sure to get."""
    max: LargestLimit = LargestLimit()
    """The largest limit that a container may ask for."""


class FlowPort(Section):
    """One port of a flow."""

    port: Port
    """The port of the pods, not of a service before them."""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    """Of the transport."""


class Flow(Section):
    """Traffic that the default deny lets through: all pods of the namespace, and the peers and ports named here."""

    direction: Literal["ingress", "egress"]
    """`ingress`: to the namespace's pods. `egress`: from them."""
    namespaces: tuple[Name, ...] = ()
    """Peers: all pods of these namespaces; its own name stands for pods of the same namespace."""
    cidrs: tuple[Network, ...] = ()
    """Peers: addresses outside the cluster. Nodes' metadata addresses are left out of every range for egress."""
    ports: Annotated[tuple[FlowPort, ...], Field(min_length=1)]
    """To which ports."""


class Namespace(Section):
    """A namespace that kharden makes and keeps hardened. One that leaves this list is never deleted."""

    name: Name
    """Its name; not one of Kubernetes' own, which are hardened always."""
    pod_security: Literal["privileged", "baseline", "restricted"] = "restricted"
    """The Pod Security Standard that is enforced in it."""
    quota: Quota = Quota()
    """What everything in it may use together."""
    limits: Limits = Limits()
    """What one container in it may use."""
    default_deny: bool = True
    """Its pods can't talk to anyone but the cluster's DNS, and nobody to them, except for what `allow` lists."""
    allow: tuple[Flow, ...] = ()
    """What the default deny lets through."""
