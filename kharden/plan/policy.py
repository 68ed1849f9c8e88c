"""What is let in, written down and kept back: the preset's values where cluster.yaml has none of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from kharden.spec import presets
from kharden.versions.contract import Contract

if TYPE_CHECKING:
    from kharden.spec.model import Spec
    from kharden.spec.policy import Eviction, Reserved
    from kharden.spec.presets import AuditLayer, Preset, Setting

_Value = TypeVar("_Value")
# Keys with their values, in the order of cluster.yaml.
Pairs = tuple[tuple[str, str], ...]

# Go's names of the TLS 1.2 suites that are forward secret and authenticated; TLS 1.3 has its own.
_SUITES = {
    key: (
        f"TLS_ECDHE_{key}_WITH_AES_128_GCM_SHA256",
        f"TLS_ECDHE_{key}_WITH_AES_256_GCM_SHA384",
    )
    for key in ("ECDSA", "RSA")
}
# Whatever spec.pki says: kubelets make their own keys (client-go util/certificate, certificate_manager.go), as do the
# controller manager and the scheduler, which are given no certificate (client-go util/cert, cert.go).
KUBELET_KEYS = "ECDSA-P256"
SELF_SIGNED_KEYS = "RSA-2048"
# IANA's numbers of TLS groups, which are Go's too.
_GROUPS = {"X25519MLKEM768": 4588, "X25519": 29, "P-256": 23, "P-384": 24}
# kubeadm's own value of the flag is NodeRestriction alone, and ours replaces it.
_PLUGINS = ("NodeRestriction", "PodSecurity", "EventRateLimit", "DenyServiceExternalIPs")


@dataclass(frozen=True, slots=True)
class EncryptionPlan:
    """Encryption at rest of `resources` with `provider`, which stands first."""

    provider: str
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """The audit log.

    Attributes:
        reads: who read what is written down.
        contents: so are requests and answers of everything that may not hold a secret.
        max_age_days: how long a file is kept.
        max_size_mb: megabytes at which a new file begins.
    """

    reads: bool
    contents: bool
    max_age_days: int
    max_backups: int
    max_size_mb: int


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit of the EventRateLimit admission plugin."""

    type: str
    qps: int
    burst: int


@dataclass(frozen=True, slots=True)
class AdmissionPlan:
    """What the API server lets in.

    Attributes:
        plugins: what is named in its flag, which has all that is on by default besides.
        pod_security: the standard of namespaces without a label of their own.
    """

    plugins: tuple[str, ...]
    pod_security: presets.PodSecurityLevel
    exempt_namespaces: tuple[str, ...]
    exempt_usernames: tuple[str, ...]
    exempt_runtime_classes: tuple[str, ...]
    event_rate_limits: tuple[RateLimit, ...]


@dataclass(frozen=True, slots=True)
class KubeletPlan:
    """Settings of the kubelet.

    Attributes:
        system_reserved: resource and amount.
        eviction_hard: signal and threshold.
        eviction_soft_grace_period: signal and how long.
    """

    pod_pids_limit: int
    system_reserved: Pairs
    kube_reserved: Pairs
    eviction_hard: Pairs
    eviction_soft: Pairs
    eviction_soft_grace_period: Pairs
    container_log_max_size: str
    container_log_max_files: int
    image_verification: presets.ImageVerification


def chosen(value: _Value | None, setting: Setting[_Value], preset: Preset) -> _Value:
    """What cluster.yaml says, else what the preset does."""
    return setting.of(preset) if value is None else value


def tls_suites(spec: Spec, algorithm: str) -> tuple[str, ...]:
    """Cipher suites by Go's names that fit the preset and a server's key, by the names of spec.pki.algorithm."""
    key = algorithm.partition("-")[0]
    chacha = (f"TLS_ECDHE_{key}_WITH_CHACHA20_POLY1305_SHA256",)
    return _SUITES[key] + (chacha if presets.CHACHA.of(spec.preset) else ())


def key_exchanges(spec: Spec) -> tuple[int, ...]:
    """Key exchanges of TLS by their numbers; none where programs of that minor can't be told."""
    if not Contract.of(spec.kubernetes.version).names_key_exchanges:
        return ()
    return tuple(_GROUPS[name] for name in presets.KEY_EXCHANGES.of(spec.preset))


def encryption(spec: Spec) -> EncryptionPlan:
    """Encryption at rest."""
    resources = chosen(spec.encryption.resources, presets.ENCRYPTED_RESOURCES, spec.preset)
    return EncryptionPlan(spec.encryption.provider, resources)


def audit(spec: Spec) -> AuditPlan:
    """The audit log."""
    own, preset = spec.audit, spec.preset
    layers: tuple[AuditLayer, ...] = chosen(own.layers, presets.AUDIT_LAYERS, preset)
    return AuditPlan(
        reads="reads" in layers,
        contents="contents" in layers,
        max_age_days=chosen(own.max_age_days, presets.AUDIT_MAX_AGE, preset),
        max_backups=chosen(own.max_backups, presets.AUDIT_MAX_BACKUPS, preset),
        max_size_mb=chosen(own.max_size_mb, presets.AUDIT_MAX_SIZE, preset),
    )


def admission(spec: Spec) -> AdmissionPlan:
    """What is let in."""
    own, exemptions = spec.admission, spec.admission.pod_security_exemptions
    return AdmissionPlan(
        plugins=(*_PLUGINS, *presets.EXPLICIT_PLUGINS.of(spec.preset), *own.plugins),
        pod_security=chosen(own.pod_security, presets.POD_SECURITY, spec.preset),
        exempt_namespaces=exemptions.namespaces,
        exempt_usernames=exemptions.usernames,
        exempt_runtime_classes=exemptions.runtime_classes,
        event_rate_limits=tuple(RateLimit(limit.type, limit.qps, limit.burst) for limit in own.event_rate_limits),
    )


# The disk of a lab's nodes is this machine's, full of other things: a share of it says nothing of what they need.
_DISKS = frozenset({"nodefs.available", "imagefs.available"})
_LAB_ROOM = "1Gi"


def kubelet(spec: Spec) -> KubeletPlan:
    """Settings of every kubelet."""
    own = spec.kubelet
    return KubeletPlan(
        pod_pids_limit=chosen(own.pod_pids_limit, presets.POD_PIDS_LIMIT, spec.preset),
        system_reserved=_reserved(own.system_reserved),
        kube_reserved=_reserved(own.kube_reserved),
        eviction_hard=_eviction_hard(spec),
        eviction_soft=_thresholds(own.eviction_soft),
        eviction_soft_grace_period=tuple((one.signal, one.grace_period) for one in own.eviction_soft),
        container_log_max_size=own.container_log_max_size,
        container_log_max_files=own.container_log_max_files,
        image_verification=chosen(
            own.image_pull_credentials_verification_policy, presets.IMAGE_VERIFICATION, spec.preset
        ),
    )


def _reserved(own: Reserved) -> Pairs:
    resources = {"cpu": own.cpu, "memory": own.memory, "ephemeral-storage": own.ephemeral_storage, "pid": own.pid}
    return tuple((name, str(value)) for name, value in resources.items() if value is not None)


def _eviction_hard(spec: Spec) -> Pairs:
    own = spec.kubelet
    thresholds = _thresholds(own.eviction_hard)
    if spec.lab is None or "eviction_hard" in own.model_fields_set:
        return thresholds
    return tuple((signal, _LAB_ROOM if signal in _DISKS else below) for signal, below in thresholds)


def _thresholds(own: tuple[Eviction, ...]) -> Pairs:
    return tuple((one.signal, one.below) for one in own)
