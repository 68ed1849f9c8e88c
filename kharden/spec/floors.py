"""Settings that are weaker than the preset's: each needs an unexpired waiver of the control that it fails."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from kharden.spec.presets import POD_SECURITY, SETTINGS
from kharden.spec.problems import Finding, KeyPath, dotted
from kharden.versions import gates
from kharden.versions.contract import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from kharden.spec.model import Cluster
    from kharden.spec.presets import Setting
    from kharden.spec.section import Section

# What a namespace's own label takes away from the preset's standard shows in every namespace's refusals.
_NAMESPACE_CONTROL = "pod-security-everywhere"
_ALPHA_CONTROL = "alpha-features-off"
# Feature gate → the control that fails where it is off.
_NEEDED_GATES = {"RotateKubeletServerCertificate": "controller-manager-serving-rotation"}


@dataclass(frozen=True, slots=True)
class Weakness:
    """A value that is weaker than the preset's.

    Attributes:
        asks: what the preset asks for, as the end of a sentence.
        remedy: what to write instead.
    """

    path: KeyPath
    control: str
    asks: str
    remedy: str


def weakened_settings_are_waived(cluster: Cluster) -> Iterator[Finding]:
    """Whether the waiver has expired is `expired`'s to say: rules know no time."""
    waived = {waiver.control for waiver in cluster.spec.waivers}
    for weak in weaknesses(cluster):
        if weak.control not in waived:
            message = f"this is weaker than the preset {cluster.spec.preset}, which {weak.asks}"
            yield Finding(weak.path, message, f"{weak.remedy}, or add a waiver of {weak.control} to spec.waivers")


def expired(cluster: Cluster, today: date) -> Iterator[Finding]:
    """Waivers that no longer hold on `today` (of UTC), and that a weaker setting needs."""
    for i, waiver in enumerate(cluster.spec.waivers):
        for weak in weaknesses(cluster) if waiver.expires < today else ():
            if weak.control == waiver.control:
                message = f"this waiver has expired, and {dotted(weak.path)} needs it"
                remedy = f"renew it knowingly, or there: {weak.remedy}"
                yield Finding(("spec", "waivers", i, "expires"), message, remedy)


def weaknesses(cluster: Cluster) -> Iterator[Weakness]:
    """Every setting of `cluster` that is weaker than its preset's."""
    yield from chain.from_iterable(_weaker(setting, cluster) for setting in SETTINGS)
    least = POD_SECURITY.least(cluster.spec.preset)
    order = POD_SECURITY.order
    for i, namespace in enumerate(cluster.spec.namespaces):
        if order.index(namespace.pod_security) < order.index(least):
            path: KeyPath = ("spec", "namespaces", i, "podSecurity")
            yield Weakness(path, _NAMESPACE_CONTROL, f"asks for {least}", f"write {least}")
    yield from _weaker_gates(cluster)


def _weaker_gates(cluster: Cluster) -> Iterator[Weakness]:
    """Feature gates, by which no preset lets an alpha feature in."""
    own = cluster.spec.kubernetes
    minor = Contract.of(own.version).minor
    path: KeyPath = ("spec", "kubernetes", "featureGates")
    for name in gates.alpha(minor, own.feature_gates.items()):
        yield Weakness((*path, name), _ALPHA_CONTROL, f"has no feature that is alpha in {minor}", "remove it")
    for name, control in _NEEDED_GATES.items():
        if name in gates.gates(minor) and not gates.on(minor, own.feature_gates, name):
            where = (*path, name if name in own.feature_gates else gates.WHOLE["beta"])
            yield Weakness(where, control, f"has {name} on", "remove it")


def _weaker(setting: Setting[Any], cluster: Cluster) -> Iterator[Weakness]:
    value = _at(cluster, setting.key) if setting.weaker else None
    if value is None:
        return
    least = setting.least(cluster.spec.preset)
    if setting.weaker == "smaller" and value < least:
        yield Weakness(setting.key, setting.control, f"asks for {least}", f"write at least {least}")
    if setting.weaker == "earlier in the order" and setting.order.index(value) < setting.order.index(least):
        yield Weakness(setting.key, setting.control, f"asks for {least}", f"write {least}")
    if setting.weaker == "lacking an item":
        for item in least:
            if item not in value:
                yield Weakness(setting.key, setting.control, f"has {item} here", f"add {item}")
    if setting.weaker == "having an item more":
        for i, item in enumerate(value):
            if item not in least:
                yield Weakness((*setting.key, i), setting.control, "has nothing like this here", "remove it")


def _at(section: Section, key: KeyPath) -> Any:  # noqa: ANN401  # whatever the key's value is
    """The value at a path of cluster.yaml."""
    value: Any = section
    for step in key:
        fields = type(value).model_fields
        value = getattr(value, next(name for name, field in fields.items() if field.alias == step))
    return value
