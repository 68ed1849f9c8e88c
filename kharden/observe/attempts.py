"""Who tries to connect to which port: made for the collector's request, and found again in its answers."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from kharden.plan.firewall import METADATA_ADDRESSES, Place, admits, openings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import MetadataUnreached, Reach
    from kharden.observe.witnesses import Witnesses
    from kharden.plan.model import ClusterPlan, NodePlan
    from kharden.spec.types import IPAddress

# In a snapshot the place of what the machine saw on which verify runs; no node can be called so.
CONTROLLER = "the controller"
_HTTP_PORT = 80

Origin = Literal["node", "pod", "controller"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection to try: `asker` is the node from which, or on which the pod is; None for the controller."""

    origin: Origin
    asker: NodePlan | None
    host: IPAddress
    port: int

    @property
    def place(self) -> str:
        """Whose document has the answer."""
        return CONTROLLER if self.asker is None else self.asker.name

    @property
    def key(self) -> str:
        """Its key among the answers of its asker."""
        return f"{self.host} {self.port}"

    @property
    def text(self) -> str:
        """What a person calls it."""
        where = f"[{self.host}]:{self.port}" if self.host.version == 6 else f"{self.host}:{self.port}"  # noqa: PLR2004  # IP version 6
        return f"from {f'a pod of {self.place}' if self.origin == 'pod' else self.place} to {where}"

    def asked(self) -> dict[str, Any]:
        """As the collector takes it."""
        return {"host": str(self.host), "port": self.port}


def reach_attempts(witnesses: Witnesses, target: NodePlan, port: int, check: Reach) -> Iterator[Attempt]:
    """At each address, from the controller, the nearest other node of each role, a pod here and one next door."""
    others = witnesses.others(target)
    nearest = [[node for node in others if node.role == role][:1] for role in ("control-plane", "worker", "etcd")]
    neighbours = [node for node in others if node.kubelet][:1]
    for host in target.addresses:
        yield Attempt("controller", None, host, port)
        if check.published:  # a port of services: nodes and pods may use it, and whether one does is not known
            continue
        for asker in chain.from_iterable(nearest):
            yield Attempt("node", asker, host, port)
        for asker in (*([target] if target.kubelet else []), *neighbours):
            yield Attempt("pod", asker, host, port)


def metadata_attempts(plan: ClusterPlan, node: NodePlan, _: MetadataUnreached) -> Iterator[Attempt]:
    """From a pod, and from its node to compare with."""
    families = {network.version for network in plan.pod_cidrs}
    for address in METADATA_ADDRESSES:
        if address.version in families:
            yield Attempt("pod", node, address, _HTTP_PORT)
            yield Attempt("node", node, address, _HTTP_PORT)


def is_admitted(plan: ClusterPlan, target: NodePlan, attempt: Attempt, check: Reach, seen: str) -> bool:
    """Whether the plan lets it in; `seen` is the address that it came from, by its own word."""
    places: tuple[Place, ...] = ("nodes", "node-ports") if check.published and target.kubelet else ()
    for opening in openings(plan, target):
        places += opening.places if (opening.protocol, opening.port) == ("tcp", attempt.port) else ()
    if attempt.origin == "pod":
        return "pods" in places
    from_elsewhere = tuple(place for place in places if place != "pods")
    source = attempt.asker.address_of(attempt.host.version) if attempt.asker else ip_address(seen) if seen else None
    return source is not None and admits(plan, from_elsewhere, source)
