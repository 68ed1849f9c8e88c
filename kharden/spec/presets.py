"""What each preset decides: one row for each setting, with what asks for it.

A value of cluster.yaml that is weaker than its row's needs a waiver of the row's control: `kharden.spec.floors` judges
that. What has a key here and isn't written in cluster.yaml gets the preset's value in `kharden.plan.policy`; what has
no key follows from the preset alone. The page docs/reference/presets.md is made from these rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from kharden.spec.problems import KeyPath

Preset = Literal["baseline", "cis", "stig"]
PodSecurityLevel = Literal["privileged", "baseline", "restricted"]
AuditLayer = Literal["reads", "contents"]
ImageVerification = Literal["NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages", "AlwaysVerify"]
# How two values of a setting compare: what is weaker than what.
Weaker = Literal["smaller", "earlier in the order", "lacking an item", "having an item more"]

Value = TypeVar("Value")

POD_SECURITY_ORDER: tuple[PodSecurityLevel, ...] = ("privileged", "baseline", "restricted")
IMAGE_VERIFICATION_ORDER: tuple[ImageVerification, ...] = (
    "NeverVerifyPreloadedImages",
    "NeverVerifyAllowlistedImages",
    "AlwaysVerify",
)


@dataclass(frozen=True, slots=True)
class Setting(Generic[Value]):
    """One thing that presets decide.

    Attributes:
        key: its path in cluster.yaml; empty where cluster.yaml has no key for it.
        what: what it is, for the page of presets.
        sources: who asks for the values.
        control: which control a weaker value fails, so that a waiver of it is needed; "" where no value is weaker.
        weaker: how a weaker value is told.
        order: for "earlier in the order": all values, the weakest first.
        floor: the weakest value that needs no waiver, where it isn't the preset's own.
    """

    key: KeyPath
    what: str
    baseline: Value
    cis: Value
    stig: Value
    sources: tuple[str, ...]
    control: str = ""
    weaker: Weaker | None = None
    order: tuple[str, ...] = ()
    floor: Value | None = None

    def of(self, preset: Preset) -> Value:
        """The preset's value."""
        return {"baseline": self.baseline, "cis": self.cis, "stig": self.stig}[preset]

    def least(self, preset: Preset) -> Value:
        """The weakest value that needs no waiver."""
        return self.of(preset) if self.floor is None else self.floor

    def stricter(self, value: Value, preset: Preset) -> Value:
        """Of a value and the weakest that needs no waiver the stricter one; for settings with an order."""
        return max(value, self.least(preset), key=lambda one: self.order.index(str(one)))


POD_SECURITY: Setting[PodSecurityLevel] = Setting(
    ("spec", "admission", "podSecurity"),
    "The Pod Security Standard of namespaces without a label of their own",
    baseline="baseline",
    cis="restricted",
    stig="restricted",
    sources=("CIS 5.2.2 to 5.2.12", "STIG V-254800"),
    control="pod-security-enforced",
    weaker="earlier in the order",
    order=POD_SECURITY_ORDER,
)
EXEMPT_NAMESPACES: Setting[tuple[str, ...]] = Setting(
    ("spec", "admission", "podSecurityExemptions", "namespaces"),
    "Namespaces that Pod Security leaves alone",
    baseline=(),
    cis=(),
    stig=(),
    sources=("CIS 5.2.1", "STIG V-254800"),
    control="pod-security-everywhere",
    weaker="having an item more",
)
EXEMPT_USERNAMES: Setting[tuple[str, ...]] = Setting(
    ("spec", "admission", "podSecurityExemptions", "usernames"),
    "Users whose pods Pod Security leaves alone",
    baseline=(),
    cis=(),
    stig=(),
    sources=("CIS 5.2.1", "STIG V-254800"),
    control="pod-security-everywhere",
    weaker="having an item more",
)
EXEMPT_RUNTIME_CLASSES: Setting[tuple[str, ...]] = Setting(
    ("spec", "admission", "podSecurityExemptions", "runtimeClasses"),
    "Runtime classes whose pods Pod Security leaves alone",
    baseline=(),
    cis=(),
    stig=(),
    sources=("CIS 5.2.1", "STIG V-254800"),
    control="pod-security-everywhere",
    weaker="having an item more",
)
AUDIT_LAYERS: Setting[tuple[AuditLayer, ...]] = Setting(
    ("spec", "audit", "layers"),
    "What the audit log holds beside what it always does",
    baseline=(),
    cis=("reads",),
    stig=("reads", "contents"),
    sources=("CIS 3.2.2", "STIG V-242403"),
    control="audit-levels",
    weaker="lacking an item",
)
AUDIT_MAX_AGE: Setting[int] = Setting(
    ("spec", "audit", "maxAgeDays"),
    "Days that a file of the audit log is kept",
    baseline=30,
    cis=30,
    stig=30,
    sources=("CIS 1.2.17", "STIG V-242464"),
    control="apiserver-audit-log-age",
    weaker="smaller",
)
AUDIT_MAX_BACKUPS: Setting[int] = Setting(
    ("spec", "audit", "maxBackups"),
    "Files of the audit log that are kept",
    baseline=10,
    cis=10,
    stig=10,
    sources=("CIS 1.2.18", "STIG V-242463"),
    control="apiserver-audit-log-backups",
    weaker="smaller",
)
AUDIT_MAX_SIZE: Setting[int] = Setting(
    ("spec", "audit", "maxSizeMB"),
    "Megabytes at which a new file of the audit log begins",
    baseline=100,
    cis=100,
    stig=100,
    sources=("CIS 1.2.19", "STIG V-242462"),
    control="apiserver-audit-log-size",
    weaker="smaller",
)
ENCRYPTED_RESOURCES: Setting[tuple[str, ...]] = Setting(
    ("spec", "encryption", "resources"),
    "Resources that lie encrypted in etcd",
    baseline=("secrets",),
    cis=("secrets", "configmaps"),
    stig=("secrets", "configmaps"),
    sources=("CIS 1.2.27", "CIS 1.2.28", "STIG V-274882"),
    control="etcd-encryption-at-rest",
    weaker="lacking an item",
    floor=("secrets",),
)
IMAGE_VERIFICATION: Setting[ImageVerification] = Setting(
    ("spec", "kubelet", "imagePullCredentialsVerificationPolicy"),
    "For which images on a node a pod must show that it may pull them",
    baseline="NeverVerifyPreloadedImages",
    cis="NeverVerifyAllowlistedImages",
    stig="NeverVerifyAllowlistedImages",
    sources=("CIS 1.2.11", "KEP-2535"),
    control="kubelet-images-verified",
    weaker="earlier in the order",
    order=IMAGE_VERIFICATION_ORDER,
)
POD_PIDS_LIMIT: Setting[int] = Setting(
    ("spec", "kubelet", "podPidsLimit"),
    "Processes that a pod may have",
    baseline=16384,
    cis=4096,
    stig=4096,
    sources=("CIS 4.2.13",),
)
# The suites of each key algorithm, as flags of the control plane and the kubelet name them. TLS 1.3 has no choice.
CHACHA: Setting[bool] = Setting(
    (),
    "Whether TLS 1.2 may use ChaCha20-Poly1305 beside AES-GCM; every suite is forward secret and authenticated",
    baseline=True,
    cis=True,
    stig=False,
    sources=("CIS 1.2.29", "STIG V-242418"),
)
KEY_EXCHANGES: Setting[tuple[str, ...]] = Setting(
    (),
    "Key exchanges of TLS, from Kubernetes 1.36 on; the first is hybrid and stands against quantum computers",
    baseline=("X25519MLKEM768", "X25519", "P-256", "P-384"),
    cis=("X25519MLKEM768", "X25519", "P-256", "P-384"),
    stig=("X25519MLKEM768", "P-256", "P-384"),
    sources=("NIST SP 800-52r2", "FIPS 203"),
)
EXPLICIT_PLUGINS: Setting[tuple[str, ...]] = Setting(
    (),
    "Admission plugins that are on by default and are named nevertheless, for who reads the flag",
    baseline=(),
    cis=(),
    stig=("ValidatingAdmissionWebhook",),
    sources=("STIG V-242436",),
)

SETTINGS: tuple[Setting[Any], ...] = (
    POD_SECURITY,
    EXEMPT_NAMESPACES,
    EXEMPT_USERNAMES,
    EXEMPT_RUNTIME_CLASSES,
    AUDIT_LAYERS,
    AUDIT_MAX_AGE,
    AUDIT_MAX_BACKUPS,
    AUDIT_MAX_SIZE,
    ENCRYPTED_RESOURCES,
    IMAGE_VERIFICATION,
    POD_PIDS_LIMIT,
    CHACHA,
    KEY_EXCHANGES,
    EXPLICIT_PLUGINS,
)
