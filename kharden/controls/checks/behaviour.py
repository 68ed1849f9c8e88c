"""The kinds of checks that ask the running cluster: requests with and without credentials, and its objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from kharden.controls.checks.node import Scope
    from kharden.controls.model import FromPlan

# Whose certificate a probe shows: nobody's, the node's kubelet's, or etcd's health check's.
Credential = Literal["none", "kubelet", "etcd-client"]

# What a pod has beyond the restricted Pod Security Standard; "" is nothing.
PodFeature = Literal[
    "",
    "privileged",
    "host-path",
    "host-network",
    "host-pid",
    "host-ipc",
    "host-port",
    "host-process",
    "capability",
    "root",
    "escalation",
]


@dataclass(frozen=True, slots=True)
class Probe:
    """A request, and the answers that are right.

    Attributes:
        outcomes: HTTP statuses as text, "connection refused", or "TLS refused" (an alert about our certificate).
        over_tls: whether TLS is spoken at all.
        outside: what is right as well where another node asks, since the firewall drops that.
        first_address_only: what answers listens on the first of a node's addresses alone; else each of them is asked.
    """

    port: int
    outcomes: tuple[str, ...]
    path: str = "/"
    scope: Scope = "node"
    credential: Credential = "none"
    headers: tuple[tuple[str, str], ...] = ()
    over_tls: bool = True
    outside: tuple[str, ...] = ()
    first_address_only: bool = False


@dataclass(frozen=True, slots=True)
class ForeignNodeRefused:
    """With its kubelet's credential a node can read itself, but label neither another node nor itself as it likes."""


@dataclass(frozen=True, slots=True)
class KubeletSetting:
    """A setting that the running kubelet reports of itself (its configz).

    Attributes:
        path: keys from the top, such as ("authentication", "anonymous", "enabled").
        absent: what it means when the key is left out of the answer; None: that is wrong.
    """

    path: tuple[str, ...]
    value: str | int | bool | FromPlan
    absent: str | int | bool | None = None


@dataclass(frozen=True, slots=True)
class KubeletSettingWithin:
    """A list that the running kubelet reports of itself: no item but these, and one at least unless `may_be_empty`."""

    path: tuple[str, ...]
    items: tuple[str, ...] | FromPlan
    may_be_empty: bool = False


@dataclass(frozen=True, slots=True)
class PodAdmission:
    """A pod is tried (a dry run on the server) in the namespace `default`; nothing is created.

    Attributes:
        feature: what it adds to a pod that meets the restricted Pod Security Standard; "" adds nothing.
        admitted: whether it must be let in.
        standard: the mildest Pod Security Standard that has a say in it; a cluster with a milder one isn't asked.
    """

    feature: PodFeature
    admitted: bool
    standard: Literal["baseline", "restricted"] = "baseline"


@dataclass(frozen=True, slots=True)
class EncryptedAtRest:
    """Every key of each encrypted resource lies in etcd under the provider's prefix, read raw."""


@dataclass(frozen=True, slots=True)
class SecretsNotAudited:
    """A secret that was just written is in the audit log, and what is in it is not."""


@dataclass(frozen=True, slots=True)
class AuditLevel:
    """A request that nobody but us makes is in the audit log at this level; "None" means that it isn't there.

    It is made with the kubelet's credential about an object that doesn't exist, so it changes nothing, refused or not.

    Attributes:
        request: HTTP method and path; NAME stands for a name of our own.
        body: of the request, with the same.
        layer: the layer of spec.audit.layers that it belongs to; a cluster without that layer isn't asked.
    """

    what: str
    request: tuple[str, str]
    level: Literal["None", "Metadata", "Request", "RequestResponse"]
    body: str | None = None
    layer: Literal["", "reads", "contents"] = ""


@dataclass(frozen=True, slots=True)
class NamespacesRestricted:
    """In every namespace but these a pod that the cluster's Pod Security Standard forbids is refused (a dry run)."""

    privileged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DefaultServiceAccounts:
    """The default service accounts of all namespaces mount no token, of the plan's and of others."""


@dataclass(frozen=True, slots=True)
class ObjectsAbsent:
    """The API has no object under this path (with its selectors).

    Attributes:
        what: what such an object would be, for the report.
    """

    path: str
    what: str


@dataclass(frozen=True, slots=True)
class Reach:
    """A TCP port of a node is reached from where the plan lets it be, and from nowhere else.

    It is tried from the controller, from other nodes of each role and from pods.

    Attributes:
        published: it is a port of services, which nodes and pods may use; so it is tried from the controller only.
        first_address_only: what answers listens on the first of a node's addresses alone; at the other one who gets
            through the firewall finds nobody.
    """

    port: int | FromPlan
    published: bool = False
    first_address_only: bool = False


@dataclass(frozen=True, slots=True)
class MetadataUnreached:
    """From a pod there is no way to the addresses where clouds answer machines about themselves."""
