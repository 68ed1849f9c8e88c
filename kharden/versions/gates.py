"""The feature gates of each supported Kubernetes minor: gates.json, made by `python -m kharden.artifacts.gates`.

It has what the programs register themselves, compiled from the sources that the lock pins; tests/unit/versions holds it
against what the built programs say of themselves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Stage = Literal["alpha", "beta", "ga", "deprecated"]
Component = Literal["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"]

COMPONENTS: tuple[Component, ...] = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
)
FILE = "gates.json"
# Gates that set all of a stage which aren't set themselves.
WHOLE: dict[Stage, str] = {"alpha": "AllAlpha", "beta": "AllBeta"}


@dataclass(frozen=True, slots=True)
class Gate:
    """A feature gate of one minor.

    Attributes:
        locked: programs refuse another value than the default.
        needs: gates without which it can't be on.
        unknown: programs that refuse to start with it; all others know it.
    """

    name: str
    stage: Stage
    default: bool
    locked: bool = False
    needs: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@cache
def gates(minor: str) -> Mapping[str, Gate]:
    """Name → gate; nothing for a minor that isn't supported."""
    return {
        name: Gate(
            name,
            one["stage"],
            one["default"],
            one.get("locked", False),
            tuple(one.get("needs", ())),
            tuple(one.get("unknown", ())),
        )
        for name, one in _table().get(minor, {}).items()
    }


@cache
def _table() -> dict[str, dict[str, dict[str, Any]]]:
    table: dict[str, dict[str, dict[str, Any]]] = json.loads((resources.files(__package__) / FILE).read_text("utf-8"))
    return table


def known_to(component: Component, minor: str, chosen: Iterable[tuple[str, bool]]) -> tuple[tuple[str, bool], ...]:
    """Of the `chosen` gates those that a program of the minor knows, in the order of their names."""
    known = gates(minor)
    return tuple(sorted((name, on) for name, on in chosen if name in known and component not in known[name].unknown))


def alpha(minor: str, chosen: Iterable[tuple[str, bool]]) -> tuple[str, ...]:
    """Of the `chosen` gates those that switch an alpha feature on, in their order."""
    known = gates(minor)
    return tuple(name for name, on in chosen if on and name in known and known[name].stage == "alpha")


def on(minor: str, chosen: Mapping[str, bool], name: str) -> bool:
    """Whether the gate `name` is on where the `chosen` ones are set (k8s.io/component-base featuregate)."""
    gate = gates(minor)[name]
    whole = WHOLE.get(gate.stage, name)
    return chosen.get(name, chosen.get(whole, gate.default))
