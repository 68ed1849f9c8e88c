"""Sections of cluster.yaml that say what is let in, what is written down and what a kubelet keeps back.

A key without a value here has the preset's: `kharden.spec.presets` is the table.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kharden.spec.presets import AuditLayer, ImageVerification, PodSecurityLevel
from kharden.spec.quantities import Quantity
from kharden.spec.section import Section
from kharden.spec.types import ApiUser, Day, Duration, Name, Resource, Text, Threshold

# Admission plugins that may be added: off by default, without a configuration of their own, in every supported minor
# (k8s.io/kubernetes pkg/kubeapiserver/options/plugins.go).
AdmissionPlugin = Literal[
    "AlwaysPullImages",
    "ExtendedResourceToleration",
    "LimitPodHardAntiAffinityTopology",
    "NamespaceExists",
    "OwnerReferencesPermissionEnforcement",
]
EvictionSignal = Literal[
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "pid.available",
]


class Encryption(Section):
    """Encryption at rest, in etcd. New objects are never written in plain."""

    provider: Literal["secretbox", "aescbc"] = "secretbox"
    """`secretbox`: XSalsa20 and Poly1305, authenticated. `aescbc`: where a standard asks for AES."""
    resources: Annotated[tuple[Resource, ...], Field(min_length=1)] | None = None
    """Which resources of the API are encrypted."""


class Audit(Section):
    """The API server's audit log, which never holds what is in a secret.

    Changes of rights, admission, certificates and namespaces are always written down whole, and who ran a command in a
    container; health probes, leases and events never.
    """

    layers: tuple[AuditLayer, ...] | None = None
    """What is written down besides. `reads`: who read what. `contents`: requests and answers of everything that is
    built in and may not hold a secret; many megabytes an hour."""
    max_age_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    """How many days a file is kept."""
    max_backups: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many files are kept."""
    max_size_mb: Annotated[Annotated[int, Field(ge=1, le=2000)] | None, Field(alias="maxSizeMB")] = None
    """The size at which a new file begins."""


class RateLimit(Section):
    """One limit of the EventRateLimit admission plugin."""

    type: Literal["Server", "Namespace", "User", "SourceAndObject"]
    """What shares the limit."""
    qps: Annotated[int, Field(ge=1, le=100000)]
    """Events a second."""
    burst: Annotated[int, Field(ge=1, le=1000000)]
    """Events at once."""


class PodSecurityExemptions(Section):
    """Whom Pod Security leaves alone. Each entry needs a waiver; a label on a namespace is the better way."""

    namespaces: tuple[Name, ...] = ()
    """All pods in them."""
    usernames: tuple[ApiUser, ...] = ()
    """Pods that they make themselves."""
    runtime_classes: tuple[Name, ...] = ()
    """Pods that name one of them."""


class Admission(Section):
    """What is let in."""

    pod_security: PodSecurityLevel | None = None
    """The Pod Security Standard that is enforced where a namespace has no label of its own."""
    pod_security_exemptions: PodSecurityExemptions = PodSecurityExemptions()
    """Whom it leaves alone."""
    plugins: tuple[AdmissionPlugin, ...] = ()
    """Plugins beside those that are always on. `AlwaysPullImages` asks a registry at the start of every pod, so it
    needs one that answers and has every image, those of the cluster's own parts too."""
    event_rate_limits: Annotated[tuple[RateLimit, ...], Field(min_length=1)] = (
        RateLimit(type="Server", qps=500, burst=5000),
        RateLimit(type="Namespace", qps=50, burst=100),
    )
    """So that no one drowns the API server in events; each type at most once."""


class Reserved(Section):
    """What pods can't have of a node; what is left out isn't reserved."""

    cpu: Quantity | None = None
    """Processors."""
    memory: Quantity | None = None
    """Memory."""
    ephemeral_storage: Quantity | None = None
    """The disk below /var/lib/kubelet."""
    pid: Annotated[int, Field(ge=1, le=4194304)] | None = None
    """Process numbers."""


class Eviction(Section):
    """A threshold of something that a node runs short of."""

    signal: EvictionSignal
    """What is measured; each at most once."""
    below: Threshold
    """From which value on pods are evicted."""


class SoftEviction(Eviction):
    """A threshold that must be passed for a while before pods are evicted, which may then end in their own time."""

    grace_period: Duration
    """For how long."""


class Kubelet(Section):
    """The nodes' agent."""

    pod_pids_limit: Annotated[int, Field(ge=64, le=65536)] | None = None
    """How many processes a pod may have."""
    system_reserved: Reserved = Reserved()
    """Kept back for the operating system."""
    kube_reserved: Reserved = Reserved()
    """Kept back for kubelet and runtime."""
    eviction_hard: Annotated[tuple[Eviction, ...], Field(min_length=1)] = (
        Eviction(signal="memory.available", below="100Mi"),
        Eviction(signal="nodefs.available", below="10%"),
        Eviction(signal="nodefs.inodesFree", below="5%"),
        Eviction(signal="imagefs.available", below="15%"),
        Eviction(signal="imagefs.inodesFree", below="5%"),
    )
    """When pods are evicted at once. In the lab, whose nodes share a disk, both thresholds of it are 1Gi
    unless this is said."""
    eviction_soft: tuple[SoftEviction, ...] = ()
    """When pods are evicted if it lasts."""
    container_log_max_size: Quantity = "10Mi"
    """The size at which a container's log begins a new file."""
    container_log_max_files: Annotated[int, Field(ge=2, le=1000)] = 5
    """How many files of a container's log are kept."""
    image_pull_credentials_verification_policy: ImageVerification | None = None
    """For which images that a node already has a pod must show that it may pull them. `NeverVerifyPreloadedImages`:
    those that the kubelet pulled. `NeverVerifyAllowlistedImages`: all but the cluster's own. `AlwaysVerify`: all, which
    needs a registry that has the cluster's own images too."""


class Waiver(Section):
    """A control that is knowingly not met, until a day. A setting that is weaker than the preset's needs one."""

    control: Name
    """The control's id in the report."""
    owner: Text
    """Who answers for it."""
    reason: Text
    """Why; the report shows it."""
    expires: Day
    """Until when it holds, by UTC; from the day after, what it allowed is a problem again."""
