"""Feature gates: none that lets an unfinished feature in, and none that nobody decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.controls.checks import (
    AlphaFeaturesOff,
    ArgumentAbsent,
    Check,
    FeatureGates,
    KubeletAlphaFeaturesOff,
    KubeletFeatureGates,
)
from kharden.controls.model import CONTROL_PLANE, NODES, Control, Duty

if TYPE_CHECKING:
    from kharden.versions.gates import Component

_API: Component = "kube-apiserver"
_SCHEDULER: Component = "kube-scheduler"


def _control(identifier: str, title: str, roles: tuple[Duty, ...], *checks: Check) -> Control:
    return Control(identifier, title, "medium", roles, checks)


CONTROLS = (
    Control(
        "alpha-features-off",
        "No program of Kubernetes has an alpha feature on",
        "high",
        NODES,
        (AlphaFeaturesOff(), KubeletAlphaFeaturesOff()),
    ),
    _control(
        "apiserver-feature-gates",
        "The API server has the specification's feature gates and no other, and no API switched by hand",
        CONTROL_PLANE,
        FeatureGates(_API),
        ArgumentAbsent(_API, ("runtime-config",)),
    ),
    _control(
        "controller-manager-feature-gates",
        "The controller manager has the specification's feature gates and no other",
        CONTROL_PLANE,
        FeatureGates("kube-controller-manager"),
    ),
    _control(
        "scheduler-feature-gates",
        "The scheduler has the specification's feature gates and no other, and no file that overrides its flags",
        CONTROL_PLANE,
        FeatureGates(_SCHEDULER),
        ArgumentAbsent(_SCHEDULER, ("config",)),
    ),
    _control(
        "kubelet-feature-gates",
        "The kubelet has the specification's feature gates and no other",
        NODES,
        KubeletFeatureGates(),
    ),
)
