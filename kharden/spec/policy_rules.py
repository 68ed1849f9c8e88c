"""Rules of what is let in, written down and kept back, and of waivers."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from kharden.controls import CONTROLS
from kharden.spec.floors import weakened_settings_are_waived
from kharden.spec.problems import Finding, KeyPath, duplicates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.spec.model import Cluster
    from kharden.spec.network_rules import Rule

# k8s.io/apiserver pkg/apis/apiserver/validation/validation_encryption.go, validateResourceNames.
_NOT_STORED = frozenset({"apiserveripinfo", "serviceipallocations", "servicenodeportallocations"})
_OTHER_GROUP = {"events.k8s.io": "events", "extensions": "the resource's new group"}

_CONTROLS = frozenset(control.id for control in CONTROLS)


def encrypted_resources_are_stored(cluster: Cluster) -> Iterator[Finding]:
    """The API server refuses duplicates, what it doesn't store as a resource, and groups that moved."""
    path: KeyPath = ("spec", "encryption", "resources")
    resources = cluster.spec.encryption.resources or ()
    yield from duplicates((((*path, i), name) for i, name in enumerate(resources)), "remove one")
    for i, name in enumerate(resources):
        if name in _NOT_STORED:
            yield Finding((*path, i), "this can't be encrypted", "remove it")
        group = name.partition(".")[2]
        if group in _OTHER_GROUP:
            yield Finding((*path, i), "objects of this group are stored in another", f"write {_OTHER_GROUP[group]}")


def rate_limits_differ(cluster: Cluster) -> Iterator[Finding]:
    """With two limits of one type, the stricter holds and the other misleads."""
    path: KeyPath = ("spec", "admission", "eventRateLimits")
    limits = enumerate(cluster.spec.admission.event_rate_limits)
    return duplicates((((*path, i, "type"), limit.type) for i, limit in limits), "keep one limit of each type")


def policy_lists_have_no_duplicates(cluster: Cluster) -> Iterator[Finding]:
    """The API server takes them, but somebody meant something else."""
    admission = cluster.spec.admission
    lists: dict[KeyPath, tuple[str, ...]] = {
        ("audit", "layers"): cluster.spec.audit.layers or (),
        ("admission", "plugins"): admission.plugins,
        ("admission", "podSecurityExemptions", "namespaces"): admission.pod_security_exemptions.namespaces,
        ("admission", "podSecurityExemptions", "usernames"): admission.pod_security_exemptions.usernames,
        ("admission", "podSecurityExemptions", "runtimeClasses"): admission.pod_security_exemptions.runtime_classes,
    }
    for path, items in lists.items():
        yield from duplicates(((("spec", *path, i), item) for i, item in enumerate(items)), "remove one")


def eviction_signals_differ(cluster: Cluster) -> Iterator[Finding]:
    """A signal has one threshold of each kind."""
    kubelet = cluster.spec.kubelet
    for key, thresholds in (("evictionHard", kubelet.eviction_hard), ("evictionSoft", kubelet.eviction_soft)):
        path: KeyPath = ("spec", "kubelet", key)
        signals = (((*path, i, "signal"), one.signal) for i, one in enumerate(thresholds))
        yield from duplicates(signals, "keep one threshold of each signal")


def images_can_be_pulled(cluster: Cluster) -> Iterator[Finding]:
    """In the lab images are brought to nodes, and no registry answers there."""
    spec = cluster.spec
    if spec.lab is None:
        return
    for i, plugin in enumerate(spec.admission.plugins):
        if plugin == "AlwaysPullImages":
            path: KeyPath = ("spec", "admission", "plugins", i)
            yield Finding(path, "no registry answers in the lab, so no pod would start", "remove it")
    if spec.kubelet.image_pull_credentials_verification_policy == "AlwaysVerify":
        path = ("spec", "kubelet", "imagePullCredentialsVerificationPolicy")
        yield Finding(path, "no registry answers in the lab, so no pod would start", "remove it")


def waivers_differ(cluster: Cluster) -> Iterator[Finding]:
    """One control, one owner, one day."""
    waivers = ((("spec", "waivers", i, "control"), waiver.control) for i, waiver in enumerate(cluster.spec.waivers))
    return duplicates(waivers, "keep one waiver of each control")


def waived_controls_exist(cluster: Cluster) -> Iterator[Finding]:
    """A waiver of something else would waive nothing, and nobody would notice."""
    for i, waiver in enumerate(cluster.spec.waivers):
        if waiver.control not in _CONTROLS:
            nearest = get_close_matches(waiver.control, sorted(_CONTROLS), n=1)
            remedy = f"write {nearest[0]}" if nearest else "take a control's id from a report"
            yield Finding(("spec", "waivers", i, "control"), "there is no such control", remedy)


POLICY_RULES: tuple[Rule, ...] = (
    encrypted_resources_are_stored,
    rate_limits_differ,
    policy_lists_have_no_duplicates,
    eviction_signals_differ,
    images_can_be_pulled,
    waivers_differ,
    waived_controls_exist,
    weakened_settings_are_waived,
)
