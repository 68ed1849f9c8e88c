"""What the cluster is told of its nodes and namespaces."""

from __future__ import annotations

from kharden.controls.checks import BoundsEnforced, NamespaceLevels, NamespaceObjects, NodeMarks, PoliciesEnforced
from kharden.controls.model import CONTROL_PLANE, NODES, Control

CONTROLS = (
    Control(
        "node-marks",
        "Each node has the role, zone, labels and taints of cluster.yaml",
        "medium",
        NODES,
        (NodeMarks(),),
    ),
    Control(
        "namespaces-pod-security",
        "Each namespace enforces its Pod Security level in the version that runs, and warns and audits by the latest",
        "high",
        CONTROL_PLANE,
        (NamespaceLevels(),),
    ),
    Control(
        "network-policies-present",
        "Each namespace denies all traffic but DNS and what cluster.yaml allows",
        "high",
        CONTROL_PLANE,
        (NamespaceObjects("NetworkPolicy", "/apis/networking.k8s.io/v1/networkpolicies"),),
    ),
    Control(
        "network-policies-enforced",
        "What a namespace's network policies deny can't be reached",
        "high",
        CONTROL_PLANE,
        (PoliciesEnforced(),),
        "use a network plugin that enforces NetworkPolicy, where pods shall be kept apart",
    ),
    Control(
        "namespaces-bounded",
        "Each namespace of cluster.yaml has its quota and its limits for containers",
        "medium",
        CONTROL_PLANE,
        (
            NamespaceObjects("ResourceQuota", "/api/v1/resourcequotas"),
            NamespaceObjects("LimitRange", "/api/v1/limitranges"),
        ),
        needs_namespaces=True,
    ),
    Control(
        "namespace-bounds-enforced",
        "A pod over its namespace's quota is refused, and one without limits gets them",
        "medium",
        CONTROL_PLANE,
        (BoundsEnforced(),),
        needs_namespaces=True,
    ),
)
