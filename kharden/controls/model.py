"""A control: what must hold, how bad it is if it doesn't, where it applies and how it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection

    from kharden.controls.checks import Check

Severity = Literal["low", "medium", "high", "critical"]
# What a machine has to do: its role in cluster.yaml, and to run a member of etcd, beside a control plane or alone.
Duty = Literal["control-plane", "worker", "etcd", "etcd-member"]
Network = Literal["routed", "none", "manifest"]

CONTROL_PLANE: tuple[Duty, ...] = ("control-plane",)
WORKER: tuple[Duty, ...] = ("worker",)
# Machines of etcd's own, which are no nodes of Kubernetes.
ETCD: tuple[Duty, ...] = ("etcd",)
MEMBER: tuple[Duty, ...] = ("etcd-member",)
NODES: tuple[Duty, ...] = ("control-plane", "worker")
EVERYWHERE: tuple[Duty, ...] = ("control-plane", "worker", "etcd")

_APPLY = "see what differs with `kharden plan`, then run `kharden apply`"


class FromPlan(Enum):
    """A value that only a cluster's plan knows; the enum's value is how a person calls it."""

    NODE_NAME = "the node's name"
    NODE_USER = "system:node: and the node's name"
    AUDIT_MAX_AGE = "spec.audit.maxAgeDays"
    AUDIT_MAX_BACKUPS = "spec.audit.maxBackups"
    AUDIT_MAX_SIZE = "spec.audit.maxSizeMB"
    POD_PIDS_LIMIT = "spec.kubelet.podPidsLimit"
    IMAGE_VERIFICATION = "spec.kubelet.imagePullCredentialsVerificationPolicy, or the preset's if that is stricter"
    OWN_IMAGES = "the cluster's own images"
    ADMISSION_PLUGINS = "the preset's plugins and spec.admission.plugins"
    SSH_PORT = "the node's ssh.port"


@dataclass(frozen=True, slots=True)
class Control:
    """Something that must hold on every machine that has one of the duties it names.

    Attributes:
        id: kebab-case, at most 63 characters; waivers and reports name it.
        title: what must hold, as a statement.
        checks: all of them must hold; none at all means that a person has to judge it.
        with_member: checks that are asked only where a member of etcd runs.
        without_member: those that are asked only where none does.
        remedy: what to do when it doesn't hold, in the imperative.
        needs_namespaces: it applies only where cluster.yaml lists namespaces.
        networks: the network plugins with which it can be judged; with another one what it looks at is the user's own.
    """

    id: str
    title: str
    severity: Severity
    duties: tuple[Duty, ...]
    checks: tuple[Check, ...]
    remedy: str = _APPLY
    needs_namespaces: bool = False
    networks: tuple[Network, ...] = ("routed", "none", "manifest")
    with_member: tuple[Check, ...] = ()
    without_member: tuple[Check, ...] = ()

    @property
    def all_checks(self) -> tuple[Check, ...]:
        """Those of every kind of machine."""
        return (*self.checks, *self.with_member, *self.without_member)

    def concerns(self, duties: Collection[Duty]) -> bool:
        """Whether it must hold on a machine with these duties."""
        return any(duty in duties for duty in self.duties)

    def checks_for(self, duties: Collection[Duty]) -> tuple[Check, ...]:
        """What is asked of a machine with these duties; nothing where it doesn't concern that."""
        if not self.concerns(duties):
            return ()
        return (*self.checks, *(self.with_member if "etcd-member" in duties else self.without_member))
