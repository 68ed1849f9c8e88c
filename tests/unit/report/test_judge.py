from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kharden.controls import CONTROLS
from kharden.controls.lab import NOT_APPLICABLE
from kharden.report import Report, exit_status, judge, verdicts
from kharden.spec.policy import Waiver

if TYPE_CHECKING:
    from kharden.observe.model import Observation
    from kharden.plan.model import ClusterPlan
    from kharden.report import Judgement

_ID = "kubelet-unit-mode"
# Controls of machines that do nothing but etcd; the cluster here has none.
ETCD_ALONE = [entry.id for entry in CONTROLS if entry.duties == ("etcd",)]


def _of(report: Report, identifier: str = _ID) -> Judgement:
    return next(one for one in report.judgements if one.control.id == identifier)


def _changed(
    observations: list[Observation], node: str, *, ok: bool | None, left_out: bool = False
) -> list[Observation]:
    return [
        replace(one, ok=ok, left_out=left_out) if (one.control, one.node) == (_ID, node) else one
        for one in observations
    ]


def _waiver(expires: date) -> Waiver:
    return Waiver(control=_ID, owner="jo", reason="vendor's unit", expires=expires)


def test_all_right_everywhere_passes(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    report = judge(plan, good, (), now)
    assert report.summary == {
        "pass": len(CONTROLS) - len(ETCD_ALONE),
        "fail": 0,
        "waived": 0,
        "manual": 0,
        "unknown": 0,
        "not-applicable": len(ETCD_ALONE),
    }
    assert exit_status(report) == 0


def test_one_wrong_node_fails(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    report = judge(plan, _changed(good, "w1", ok=False), (), now)
    assert _of(report).verdict == "fail"
    assert report.summary["fail"] == 1
    assert exit_status(report) == 2


def test_one_blind_node_is_unknown_and_wrong_outweighs_it(
    plan: ClusterPlan, good: list[Observation], now: datetime
) -> None:
    blind = _changed(good, "w1", ok=None)
    assert _of(judge(plan, blind, (), now)).verdict == "unknown"
    assert exit_status(judge(plan, blind, (), now)) == 2
    assert _of(judge(plan, _changed(blind, "cp1", ok=False), (), now)).verdict == "fail"


def test_what_cluster_yaml_chose_with_open_eyes_is_for_a_person(
    plan: ClusterPlan, good: list[Observation], now: datetime
) -> None:
    chosen = [replace(one, ok=None, chosen=True) if (one.control, one.node) == (_ID, "w1") else one for one in good]
    assert _of(judge(plan, chosen, (), now)).verdict == "manual"
    assert exit_status(judge(plan, chosen, (), now)) == 0
    blind = [replace(one, ok=None) if (one.control, one.node) == (_ID, "cp1") else one for one in chosen]
    assert _of(judge(plan, blind, (), now)).verdict == "unknown"


def test_without_namespaces_nothing_bounds_them(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    bare = replace(plan, namespaces=tuple(one for one in plan.namespaces if not one.given))
    judgement = _of(judge(bare, good, (), now), "namespaces-bounded")
    assert judgement.verdict == "not-applicable"
    assert {one.observed for one in judgement.observations} == {"cluster.yaml lists no namespace"}


def test_a_silent_node_is_unknown(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    judgement = _of(judge(plan, [one for one in good if one.node != "w1"], (), now))
    assert judgement.verdict == "unknown"
    assert [(one.node, one.observed) for one in judgement.observations if not one.ok] == [
        ("w1", "nothing was observed")
    ]


def test_a_look_at_the_live_node_alone_is_no_evidence(
    plan: ClusterPlan, good: list[Observation], now: datetime
) -> None:
    live = [replace(one, source="live") if one.node == "w1" else one for one in good]
    assert _of(judge(plan, live, (), now)).verdict == "unknown"


def test_no_observations_at_all_never_pass(plan: ClusterPlan, now: datetime) -> None:
    report = judge(plan, [], (), now)
    assert report.summary["unknown"] == len(CONTROLS) - len(ETCD_ALONE)
    assert exit_status(report) == 2


def test_observations_of_strange_nodes_and_controls_count_for_nothing(
    plan: ClusterPlan, good: list[Observation], now: datetime
) -> None:
    strange = [*good, replace(good[0], node="other", ok=False), replace(good[0], control="no-such", ok=False)]
    report = judge(plan, strange, (), now)
    assert report.summary["pass"] == len(CONTROLS) - len(ETCD_ALONE)


@pytest.mark.parametrize(
    ("expires", "outcome"),
    [(date(2027, 2, 1), ("waived", 0)), (date(2027, 1, 31), ("waived", 0)), (date(2027, 1, 30), ("fail", 2))],
)
def test_waiver_holds_through_its_day(
    expires: date, outcome: tuple[str, int], plan: ClusterPlan, good: list[Observation], now: datetime
) -> None:
    report = judge(plan, _changed(good, "w1", ok=False), [_waiver(expires)], now)
    assert (_of(report).verdict, exit_status(report)) == outcome


def test_a_day_is_one_of_utc(plan: ClusterPlan, good: list[Observation]) -> None:
    # Half past midnight in UTC+2 is still the day before in UTC.
    local = datetime(2027, 2, 1, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    report = judge(plan, _changed(good, "w1", ok=False), [_waiver(date(2027, 1, 31))], local)
    assert _of(report).verdict == "waived"
    assert report.started == datetime(2027, 1, 31, 22, 30, tzinfo=UTC)


def test_of_several_waivers_the_longest_counts(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    waivers = [_waiver(date(2027, 6, 1)), _waiver(date(2026, 1, 1))]
    for order in (waivers, waivers[::-1]):
        assert _of(judge(plan, _changed(good, "w1", ok=False), order, now)).verdict == "waived"


def test_waiver_hides_neither_a_pass_nor_blindness(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    waivers = [_waiver(date(2027, 2, 1))]
    assert _of(judge(plan, good, waivers, now)).verdict == "pass"
    assert _of(judge(plan, _changed(good, "w1", ok=None), waivers, now)).verdict == "unknown"


def test_lab_cannot_judge_its_kernel(lab: ClusterPlan, good: list[Observation], now: datetime) -> None:
    report = judge(lab, good, (), now)
    assert {one.control.id for one in report.judgements if one.verdict == "not-applicable"} == {
        *NOT_APPLICABLE,
        *ETCD_ALONE,
    }
    told = _of(report, "sysctl-kernel").observations
    assert {(one.source, one.observed) for one in told} == {
        ("plan", "the kernel is that of the machine that the lab runs on")
    }
    assert exit_status(report) == 0


def test_a_role_without_nodes_is_not_applicable(
    worker_only: ClusterPlan, good: list[Observation], now: datetime
) -> None:
    judgement = _of(judge(worker_only, good, (), now), "etcd-own-user")
    assert (judgement.verdict, judgement.observations) == ("not-applicable", ())


def test_where_no_machine_is_etcds_own_the_members_say_so(
    plan: ClusterPlan, good: list[Observation], now: datetime
) -> None:
    (told,) = _of(judge(plan, good, (), now), "listeners-etcd").observations
    assert (told.node, told.source, told.ok) == ("cp1", "plan", None)
    assert told.observed.startswith("no node is a machine of etcd's own")


def test_where_etcd_has_machines_of_its_own_they_are_judged_for_it(
    plan: ClusterPlan, good: list[Observation], now: datetime
) -> None:
    first, worker = plan.nodes
    apart = replace(plan, nodes=(replace(first, etcd=False), replace(worker, role="etcd", etcd=True)))
    seen = [replace(one, node="w1") for one in good if one.node == "cp1"]
    judgement = _of(judge(apart, seen, (), now), "etcd-own-user")
    assert (judgement.verdict, [one.node for one in judgement.observations]) == ("pass", ["w1"])
    assert _of(judge(apart, good, (), now), "etcd-own-user").verdict == "unknown"


def test_a_control_without_checks_is_for_a_person(
    plan: ClusterPlan, good: list[Observation], now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand = replace(CONTROLS[0], id="by-hand", checks=(), with_member=())
    monkeypatch.setattr(verdicts, "CONTROLS", (*CONTROLS, by_hand))
    report = judge(plan, good, (), now)
    assert (_of(report, "by-hand").verdict, exit_status(report)) == ("manual", 0)


def test_what_was_left_out_on_request_does_not_count(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    asked = _changed(_changed(good, "w1", ok=None, left_out=True), "cp1", ok=None, left_out=True)
    report = judge(plan, asked, (), now)
    assert (_of(report).verdict, exit_status(report)) == ("unknown", 0)
    half = judge(plan, _changed(_changed(good, "w1", ok=None, left_out=True), "cp1", ok=None), (), now)
    assert exit_status(half) == 2


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(oks=st.lists(st.tuples(st.sampled_from(["cp1", "w1"]), st.sampled_from([True, False, None])), max_size=6))
def test_a_pass_needs_every_node_and_nothing_else(
    oks: list[tuple[str, bool | None]], plan: ClusterPlan, good: list[Observation], now: datetime
) -> None:
    pattern = next(one for one in good if one.control == _ID)
    observations = [replace(pattern, node=node, ok=ok) for node, ok in oks]
    verdict = _of(judge(plan, observations, (), now)).verdict
    seen = {ok for _, ok in oks}
    if False in seen:
        assert verdict == "fail"
    else:
        assert (verdict == "pass") == (seen == {True} and {node for node, _ in oks} == {"cp1", "w1"})
