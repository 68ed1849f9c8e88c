"""What the API lets in and hands out, tried on the running cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.controls.checks import (
    DefaultServiceAccounts,
    ForeignNodeRefused,
    NamespacesRestricted,
    ObjectsAbsent,
    PodAdmission,
)
from kharden.controls.model import CONTROL_PLANE, NODES, Control

if TYPE_CHECKING:
    from kharden.controls.checks.behaviour import PodFeature

# What every Pod Security Standard but "privileged" forbids (CIS 5.2.2 to 5.2.12).
_FORBIDDEN: tuple[PodFeature, ...] = (
    *("privileged", "host-path", "host-network", "host-pid", "host-ipc", "host-port", "host-process", "capability"),
)

CONTROLS = (
    Control(
        "pod-security-enforced",
        "Pods with more than the cluster's Pod Security Standard allows are refused, others admitted",
        "critical",
        CONTROL_PLANE,
        (
            PodAdmission("", admitted=True),
            *(PodAdmission(feature, admitted=False) for feature in _FORBIDDEN),
            PodAdmission("root", admitted=False, standard="restricted"),
            PodAdmission("escalation", admitted=False, standard="restricted"),
        ),
    ),
    Control(
        "pod-security-everywhere",
        "No namespace but kube-system admits pods that the cluster's Pod Security Standard forbids",
        "critical",
        CONTROL_PLANE,
        (NamespacesRestricted(("kube-system",)),),
        "take the namespace's exemption or label away, or move what needs it and write a waiver",
    ),
    Control(
        "node-restriction-enforced",
        "A kubelet's credential can't label another node, nor its own as it likes",
        "critical",
        NODES,
        (ForeignNodeRefused(),),
    ),
    Control(
        "default-service-accounts-unmounted",
        "Default service accounts mount no token",
        "medium",
        CONTROL_PLANE,
        (DefaultServiceAccounts(),),
        "apply; list a namespace that cluster.yaml doesn't know, or patch its service account",
    ),
    Control(
        "bootstrap-tokens-absent",
        "No bootstrap token is left",
        "high",
        CONTROL_PLANE,
        (
            ObjectsAbsent(
                "/api/v1/namespaces/kube-system/secrets?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken",
                "bootstrap token",
            ),
        ),
        "delete it with kubeadm token delete",
    ),
    Control(
        "dashboard-absent",
        "No dashboard runs",
        "medium",
        CONTROL_PLANE,
        # By the label of its older manifests, and by that of its chart.
        tuple(
            ObjectsAbsent(f"/api/v1/pods?labelSelector={label}%3Dkubernetes-dashboard", "pod of the dashboard")
            for label in ("k8s-app", "app.kubernetes.io%2Fpart-of")
        ),
        "remove the dashboard",
    ),
)
