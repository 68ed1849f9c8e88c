"""What a cluster is measured by: the stricter of its own specification and of what its preset lets nobody leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.controls.checks import ArgumentWithin, AuditLevel, PodAdmission, SysctlValue
from kharden.spec import presets

if TYPE_CHECKING:
    from kharden.controls.checks import Check
    from kharden.plan.model import ClusterPlan

_REGISTRY = "registry.k8s.io"
_OWN_IMAGES = (
    *("coredns/coredns", "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler"),
    "pause",
)


def asked_of(plan: ClusterPlan, check: Check) -> bool:
    """Whether a check concerns this cluster: some only follow from a standard or a layer that it need not have."""
    if isinstance(check, AuditLevel):
        return check.layer in audit_layers(plan)
    if isinstance(check, PodAdmission):
        order = presets.POD_SECURITY_ORDER
        return order.index(check.standard) <= order.index(pod_security(plan))
    if isinstance(check, SysctlValue) and check.family:
        return any(network.version == check.family for network in plan.pod_cidrs)
    return not (isinstance(check, ArgumentWithin) and check.presets) or plan.preset in check.presets


def audit_layers(plan: ClusterPlan) -> frozenset[str]:
    """Layers that the audit log must have; "" is what every log has."""
    own = {"reads": plan.audit.reads, "contents": plan.audit.contents}
    return frozenset(("", *presets.AUDIT_LAYERS.least(plan.preset), *(name for name, on in own.items() if on)))


def pod_security(plan: ClusterPlan) -> presets.PodSecurityLevel:
    """The Pod Security Standard that pods are held to."""
    return presets.POD_SECURITY.stricter(plan.admission.pod_security, plan.preset)


def image_verification(plan: ClusterPlan) -> presets.ImageVerification:
    """How kubelets must verify that a pod may have an image."""
    return presets.IMAGE_VERIFICATION.stricter(plan.kubelet.image_verification, plan.preset)


def encrypted_resources(plan: ClusterPlan) -> tuple[str, ...]:
    """Resources that must lie encrypted in etcd."""
    return tuple(dict.fromkeys((*plan.encryption.resources, *presets.ENCRYPTED_RESOURCES.least(plan.preset))))


def own_images(plan: ClusterPlan) -> tuple[str, ...]:
    """Which images the kubelet may be told not to verify, as its minor understands it: those that apply brings."""
    if not plan.contract.lists_images_by_name:
        return (f"{_REGISTRY}/*",)
    return tuple(f"{_REGISTRY}/{name}" for name in _OWN_IMAGES)
