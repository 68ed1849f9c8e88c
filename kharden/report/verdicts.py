"""Observations → verdicts: a pass needs evidence from every node, whatever is missing is unknown."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from kharden.controls import CONTROLS, Control
from kharden.controls.lab import NOT_APPLICABLE
from kharden.observe.model import Observation
from kharden.report.model import Judgement, Report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from kharden.controls.model import Duty
    from kharden.plan.model import ClusterPlan
    from kharden.report.model import Verdict
    from kharden.spec.policy import Waiver


_DUTIES: dict[Duty, str] = {
    "control-plane": "a control plane",
    "worker": "a worker",
    "etcd": "a machine of etcd's own: each control plane has a member, and is judged for it",
    "etcd-member": "a member of etcd",
}


def judge(
    plan: ClusterPlan,
    observations: Sequence[Observation],
    waivers: Sequence[Waiver],
    now: datetime,
    away: Mapping[str, str] | None = None,
) -> Report:
    """One judgement for every control of the catalogue, in its order.

    Args:
        plan: the cluster; which nodes a control applies to follows from it, never from what was observed.
        observations: what the state suite wrote down.
        waivers: the specification's; one that has expired by `now` waives nothing.
        now: when the run began.
        away: nodes that could not be asked, with the reason; all that is of them is unknown.
    """
    started = now.astimezone(UTC)
    by_control: dict[str, list[Observation]] = {}
    for observation in observations:
        by_control.setdefault(observation.control, []).append(observation)
    return Report(
        cluster=plan.name,
        kubernetes=plan.kubernetes,
        nodes=tuple(node.name for node in plan.nodes),
        started=started,
        finished=max((observation.at for observation in observations), default=started),
        judgements=tuple(
            _judgement(plan, control, by_control.get(control.id, []), waivers, started) for control in CONTROLS
        ),
        away=dict(away or {}),
    )


def _judgement(
    plan: ClusterPlan, control: Control, seen: list[Observation], waivers: Sequence[Waiver], now: datetime
) -> Judgement:
    nodes = [node.name for node in plan.nodes if control.concerns(node.duties)]
    reason = _beyond_judging(plan, control, nodes)
    if reason is not None:
        verdict, why = reason
        # Where it concerns nobody, those say so that one would look for it on.
        named = nodes or [node.name for node in plan.members]
        told = tuple(Observation(control.id, node, "plan", control.title, why, now, None) for node in named)
        return Judgement(control, verdict, None, told)
    # A look at the live node only confirms the collector: alone it is a part of what the control asks for.
    silent = set(nodes) - {observation.node for observation in seen if observation.source != "live"}
    evidence = [observation for observation in seen if observation.node in nodes] + [
        Observation(control.id, node, "collector", control.title, "nothing was observed", now, None)
        for node in nodes
        if node in silent
    ]
    found = _verdict(evidence)
    waiver = _waiver(control, waivers)
    counts = found != "unknown" or any(one.ok is None and not one.left_out for one in evidence)
    if found == "fail" and waiver is not None and now.date() <= waiver.expires:
        found = "waived"
    return Judgement(control, found, waiver, tuple(evidence), counts)


def _beyond_judging(plan: ClusterPlan, control: Control, nodes: list[str]) -> tuple[Verdict, str] | None:
    if not nodes:
        return "not-applicable", f"no node is {_DUTIES[control.duties[0]]}"
    if plan.lab and control.id in NOT_APPLICABLE:
        return "not-applicable", NOT_APPLICABLE[control.id]
    if control.needs_namespaces and not any(namespace.given for namespace in plan.namespaces):
        return "not-applicable", "cluster.yaml lists no namespace"
    if plan.network.plugin not in control.networks:
        return "not-applicable", f"spec.network.plugin is {plan.network.plugin}, so this is the plugin's own"
    return None if control.all_checks else ("manual", "a person has to judge this")


def _verdict(evidence: list[Observation]) -> Verdict:
    if any(observation.ok is False for observation in evidence):
        return "fail"
    rest = [observation for observation in evidence if observation.ok is not True]
    if rest and all(observation.chosen for observation in rest):
        return "manual"
    return "unknown" if rest else "pass"


def _waiver(control: Control, waivers: Sequence[Waiver]) -> Waiver | None:
    """The control's waiver; where there are several, the one that lasts longest."""
    own = [waiver for waiver in waivers if waiver.control == control.id]
    return max(own, key=lambda waiver: waiver.expires, default=None)
