"""What the API lets in and hands out, tried on the running cluster."""

from __future__ import annotations

from kharden.controls.checks import DefaultServiceAccounts, ForeignNodeRefused, ObjectsAbsent, PodAdmission
from kharden.controls.model import CONTROL_PLANE, EVERYWHERE, Control

CONTROLS = (
    Control(
        "pod-security-enforced",
        "Privileged pods, pods with the host's files or network, (restricted) root pods are refused, others admitted",
        "critical",
        CONTROL_PLANE,
        (
            PodAdmission("", admitted=True),
            PodAdmission("privileged", admitted=False),
            PodAdmission("host-path", admitted=False),
            PodAdmission("root", admitted=False, standard="restricted"),
            PodAdmission("host-network", admitted=False),
        ),
    ),
    Control(
        "node-restriction-enforced",
        "A kubelet's credential can't label another node, nor its own as it likes",
        "critical",
        EVERYWHERE,
        (ForeignNodeRefused(),),
    ),
    Control(
        "default-service-accounts-unmounted",
        "Default service accounts mount no token",
        "medium",
        CONTROL_PLANE,
        (DefaultServiceAccounts(("default", "kube-node-lease", "kube-public", "kube-system")),),
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
        (ObjectsAbsent("/api/v1/pods?labelSelector=k8s-app%3Dkubernetes-dashboard", "pod of the dashboard"),),
        "remove the dashboard",
    ),
)
