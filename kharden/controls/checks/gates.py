"""The kinds of checks of feature gates; `kharden.versions.gates` has each minor's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kharden.versions.gates import Component


@dataclass(frozen=True, slots=True)
class FeatureGates:
    """By its flag a program is told the specification's feature gates and no other."""

    program: Component


@dataclass(frozen=True, slots=True)
class KubeletFeatureGates:
    """The running kubelet says (its configz) that it was told the specification's feature gates and no other."""


@dataclass(frozen=True, slots=True)
class FeatureGateOn:
    """Every process of the program has this feature on, by its flag or by itself."""

    program: Component
    name: str


@dataclass(frozen=True, slots=True)
class AlphaFeaturesOff:
    """The flag of no program of a control plane switches an alpha feature on, and none says by its metrics that one is.

    Of a worker the service proxy alone is asked.
    """


@dataclass(frozen=True, slots=True)
class KubeletAlphaFeaturesOff:
    """The kubelet doesn't say by its metrics that an alpha feature is on."""
