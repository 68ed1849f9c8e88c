"""A control: what must hold, how bad it is if it doesn't, where it applies and how it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from kharden.controls.checks import Check

Severity = Literal["low", "medium", "high", "critical"]
Role = Literal["control-plane", "worker"]
Network = Literal["routed", "none", "manifest"]

CONTROL_PLANE: tuple[Role, ...] = ("control-plane",)
WORKER: tuple[Role, ...] = ("worker",)
EVERYWHERE: tuple[Role, ...] = ("control-plane", "worker")

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
    """Something that must hold on every node of the roles it names.

    Attributes:
        id: kebab-case, at most 63 characters; waivers and reports name it.
        title: what must hold, as a statement.
        checks: all of them must hold; none at all means that a person has to judge it.
        remedy: what to do when it doesn't hold, in the imperative.
        needs_namespaces: it applies only where cluster.yaml lists namespaces.
        networks: the network plugins with which it can be judged; with another one what it looks at is the user's own.
    """

    id: str
    title: str
    severity: Severity
    roles: tuple[Role, ...]
    checks: tuple[Check, ...]
    remedy: str = _APPLY
    needs_namespaces: bool = False
    networks: tuple[Network, ...] = ("routed", "none", "manifest")
