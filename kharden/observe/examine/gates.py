"""Feature gates of running programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.observe.examine import arguments, cluster
from kharden.observe.model import Finding
from kharden.observe.request import FEATURE_GATES
from kharden.versions import gates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import (
        AlphaFeaturesOff,
        FeatureGateOn,
        FeatureGates,
        KubeletAlphaFeaturesOff,
        KubeletFeatureGates,
    )
    from kharden.observe.examine.view import View
    from kharden.observe.facts import Facts
    from kharden.versions.gates import Component

_CONTROL_PLANE: tuple[Component, ...] = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_FLAG = "feature-gates"


def as_specified(check: FeatureGates, view: View) -> Iterator[Finding]:
    """Just what cluster.yaml says, as far as the program knows it."""
    for found in _flags(check.program, view):
        yield _compared(check.program, found, view)


def kubelet_as_specified(_: KubeletFeatureGates, view: View) -> Iterator[Finding]:
    """The same of the kubelet, which has no flag but a file."""
    said = next(iter(cluster.setting(FEATURE_GATES, view)), {})
    table = said if isinstance(said, dict) else {"?": said}
    yield _compared("kubelet", {str(name): _word(value) for name, value in table.items()}, view)


def _compared(program: Component, found: dict[str, str], view: View) -> Finding:
    wanted = {name: _word(value) for name, value in view.plan.gates_of(program)}
    return Finding(f"{program} with {_said(wanted)}", _said(found), found == wanted)


def on(check: FeatureGateOn, view: View) -> Iterator[Finding]:
    """Nobody switched it off."""
    for found in _flags(check.program, view):
        right = gates.on(view.plan.minor, {name: value == "true" for name, value in found.items()}, check.name)
        yield Finding(f"{check.program} with {check.name}", _said(found), right)


def alpha_off(_: AlphaFeaturesOff, view: View) -> Iterator[Finding]:
    """By the table of the minor and a program's flag, and by what the program itself calls alpha."""
    for program in _CONTROL_PLANE if view.node.role == "control-plane" else ():
        for found in _flags(program, view):
            names = gates.alpha(view.plan.minor, ((name, value == "true") for name, value in found.items()))
            yield Finding(f"{program} --{_FLAG} switches no alpha feature on", ", ".join(names) or "none", not names)
        yield _told(program, view.facts.at("cluster", "features", program))
    yield _told("kube-proxy", view.facts.at("features", "kube-proxy"))


def kubelet_alpha_off(_: KubeletAlphaFeaturesOff, view: View) -> Iterator[Finding]:
    """A control plane asks each kubelet."""
    asker = view.snapshot.facts(view.witnesses.settings_asker(view.node).name)
    yield _told("kubelet", asker.at("cluster", "kubelet_features", view.node.name))


def _told(program: Component, facts: Facts) -> Finding:
    names = facts.texts()
    return Finding(f"{program} says that no alpha feature is on", ", ".join(names) or "none", not names)


def _flags(program: Component, view: View) -> Iterator[dict[str, str]]:
    """The flag of each process: name → value; a prefix of the program's own (kube:) is left out."""
    for values in arguments.given(program, _FLAG, view):
        items = [item.partition("=") for value in values for item in value.split(",") if item]
        yield {name.rpartition(":")[2]: value for name, _, value in items}


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _said(chosen: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(chosen.items())) or "no feature gate"
