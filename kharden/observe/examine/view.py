"""What a check is given: the node, what was seen of it and of the others, and what it must be like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kharden.controls import FromPlan
from kharden.observe.measure import image_verification, own_images
from kharden.observe.witnesses import Witnesses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kharden.observe.facts import Facts, Snapshot
    from kharden.observe.host import Host
    from kharden.plan.model import ClusterPlan, NodePlan


@dataclass(frozen=True, slots=True)
class View:
    """One node, looked at.

    Attributes:
        host: the node in testinfra's words, from the snapshot or live.
        digests: program → SHA-256 that the lock of artifacts names for the node's architecture.
        authorities: name in the table of the PKI → SHA-256 of its certificate, from beside the stores.
    """

    plan: ClusterPlan
    node: NodePlan
    snapshot: Snapshot
    host: Host
    digests: Mapping[str, str]
    authorities: Mapping[str, str]

    @property
    def facts(self) -> Facts:
        """What the collector saw on the node."""
        return self.snapshot.facts(self.node.name)

    @property
    def witnesses(self) -> Witnesses:
        """Who was asked."""
        return Witnesses(self.plan, self.snapshot.away, self.snapshot.mute)

    @property
    def cluster(self) -> Facts:
        """What is the same whoever tells it: by this control plane, or by another one where it can't tell."""
        speakers = self.witnesses.speakers
        teller = self.node if self.node in speakers else speakers[0]
        return self.snapshot.facts(teller.name).at("cluster")

    @property
    def store(self) -> Facts:
        """How etcd holds what it has, which is the same in each member: by this one, or by another where it is away."""
        there = [node for node in self.plan.members if node.name not in self.snapshot.away]
        teller = self.node if self.node in there or not there else there[0]
        return self.snapshot.facts(teller.name).at("etcd")


def resolve(value: FromPlan, view: View) -> str | int:
    """The value that this cluster's plan has."""
    values: dict[FromPlan, str | int] = {
        FromPlan.NODE_NAME: view.node.name,
        FromPlan.NODE_USER: f"system:node:{view.node.name}",
        FromPlan.AUDIT_MAX_AGE: view.plan.audit.max_age_days,
        FromPlan.AUDIT_MAX_BACKUPS: view.plan.audit.max_backups,
        FromPlan.AUDIT_MAX_SIZE: view.plan.audit.max_size_mb,
        FromPlan.POD_PIDS_LIMIT: view.plan.kubelet.pod_pids_limit,
        FromPlan.IMAGE_VERIFICATION: image_verification(view.plan),
        FromPlan.OWN_IMAGES: ",".join(own_images(view.plan)),
        FromPlan.ADMISSION_PLUGINS: ",".join(view.plan.admission.plugins),
        FromPlan.SSH_PORT: view.node.ssh.port,
    }
    return values[value]
