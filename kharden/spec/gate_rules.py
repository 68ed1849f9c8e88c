"""Rules about feature gates, each held against the table of the cluster's own minor (`kharden.versions.gates`).

With a gate that they don't know, or can't set, Kubernetes' programs don't start.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from kharden.spec.problems import Finding, KeyPath
from kharden.versions import gates
from kharden.versions.contract import SUPPORTED, Contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.spec.model import Cluster
    from kharden.spec.network_rules import Rule

_PATH: KeyPath = ("spec", "kubernetes", "featureGates")


def feature_gates_are_known(cluster: Cluster) -> Iterator[Finding]:
    """A gate comes with a minor, and goes with one."""
    own = cluster.spec.kubernetes
    contract = Contract.of(own.version)
    known = gates.gates(contract.minor)
    for name in own.feature_gates if contract.supported else ():
        if name not in known:
            yield Finding((*_PATH, name), *_unknown(name, contract))


def _unknown(name: str, contract: Contract) -> tuple[str, str]:
    """What is wrong with a name that the minor doesn't have, and what to do."""
    holders = [Contract.of(minor) for minor in SUPPORTED if name in gates.gates(minor)]
    later = [one for one in holders if one.number > contract.number]
    if later:
        return f"{contract.minor} doesn't have this feature gate yet", f"remove it, or choose {later[0].minor}"
    if holders:
        return f"this feature gate is gone in {contract.minor}; {holders[-1].minor} was the last with it", "remove it"
    nearest = get_close_matches(name, gates.gates(contract.minor), n=1)
    return f"{contract.minor} has no such feature gate", f"write {nearest[0]}" if nearest else "remove it"


def feature_gates_can_be_set(cluster: Cluster) -> Iterator[Finding]:
    """Programs refuse another value of a locked gate; the same value says nothing."""
    own = cluster.spec.kubernetes
    minor = Contract.of(own.version).minor
    known = gates.gates(minor)
    for name in own.feature_gates:
        if name in known and known[name].locked:
            value = "true" if known[name].default else "false"
            yield Finding((*_PATH, name), f"this feature gate is locked to {value} in {minor}", "remove it")


def feature_gates_have_what_they_need(cluster: Cluster) -> Iterator[Finding]:
    """Some gates need others, whoever switches them on (k8s.io/component-base featuregate, AddDependencies)."""
    chosen = cluster.spec.kubernetes.feature_gates
    minor = Contract.of(cluster.spec.kubernetes.version).minor
    known = gates.gates(minor)
    if not chosen or not chosen.keys() <= known.keys():
        return
    for gate in known.values():
        for needed in gate.needs:
            if gates.on(minor, chosen, gate.name) and not gates.on(minor, chosen, needed):
                yield from _in_want(gate, needed, chosen)


def _in_want(gate: gates.Gate, needed: str, chosen: dict[str, bool]) -> Iterator[Finding]:
    """Said at the one that was written down."""
    if gate.name in chosen or needed not in chosen:
        place = gate.name if gate.name in chosen else gates.WHOLE.get(gate.stage, gate.name)
        yield Finding((*_PATH, place), f"{gate.name} needs {needed}, which is off", f"set {needed}: true, or remove it")
    else:
        yield Finding((*_PATH, needed), f"{gate.name} needs it and is on", f"write true, or set {gate.name}: false")


GATE_RULES: tuple[Rule, ...] = (
    feature_gates_are_known,
    feature_gates_can_be_set,
    feature_gates_have_what_they_need,
)
