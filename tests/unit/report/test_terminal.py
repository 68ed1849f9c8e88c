from __future__ import annotations

import io
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING

from rich.console import Console

from kharden.report import judge, terminal
from kharden.spec.policy import Waiver

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kharden.observe.model import Observation
    from kharden.plan.model import ClusterPlan
    from kharden.report import Report


def _shown(report: Report) -> list[str]:
    console = Console(file=io.StringIO(), width=60)
    terminal.show(report, console)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue().splitlines()


def _with(observations: list[Observation], oks: Mapping[str, bool | None]) -> list[Observation]:
    return [replace(one, ok=oks[one.control]) if one.control in oks else one for one in observations]


def test_all_right_is_one_line(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    report = judge(plan, good, (), now)
    passed, not_applicable = report.summary["pass"], report.summary["not-applicable"]
    assert _shown(report) == [
        f"real: {len(report.judgements)} controls on 2 nodes: {passed} pass, {not_applicable} not-applicable"
    ]


def test_worst_first_with_evidence_and_remedy(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    wrong = _with(good, {"kubelet-unit-mode": False, "super-admin-kubeconfig-absent": False, "programs-mode": None})
    lines = _shown(judge(plan, wrong, (), now))
    heads = [line.split()[0] + " " + line.split()[2] for line in lines if not line.startswith(" ")]
    assert heads[:3] == ["fail super-admin-kubeconfig-absent:", "fail kubelet-unit-mode:", "unknown programs-mode:"]
    assert "    cp1: expected what must be" in lines
    assert "         observed what is" in lines
    assert any(line.startswith("    to do: delete /etc/kubernetes/super-admin.conf") for line in lines)
    # A remedy is never cut at the edge of a narrow terminal.
    assert any(line.endswith("rotate the cluster's CA") for line in lines)


def test_waivers_are_named(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    wrong = _with(good, {"kubelet-unit-mode": False})
    waiver = Waiver(control="kubelet-unit-mode", owner="jo", reason="vendor", expires=date(2027, 2, 1))
    assert "    waived by jo until 2027-02-01: vendor" in _shown(judge(plan, wrong, [waiver], now))
    over = waiver.model_copy(update={"expires": date(2027, 1, 1)})
    assert "    its waiver by jo ended on 2027-01-01" in _shown(judge(plan, wrong, [over], now))


def test_many_deviations_are_counted(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    one = next(one for one in good if one.control == "pki-keys-mode")
    wrong = [*good, *(replace(one, ok=False, observed=f"number {number}") for number in range(12))]
    assert "    and 7 more in the report" in _shown(judge(plan, wrong, (), now))


def test_what_a_node_says_is_text_and_nothing_else(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    said = "[bold]pass[/bold] :smile: [link=http://x]"
    wrong = [replace(one, ok=False, observed=said) if one.control == "pki-owner" else one for one in good]
    assert f"         observed {said}" in _shown(judge(plan, wrong, (), now))


def test_a_node_that_is_away_is_one_line(plan: ClusterPlan, good: list[Observation], now: datetime) -> None:
    gone, *_ = plan.nodes
    unseen = [replace(one, ok=None, observed="can't be reached") if one.node == gone.name else one for one in good]
    lines = _shown(judge(plan, unseen, (), now, {gone.name: "can't be reached"}))
    count = len({one.control for one in good if one.node == gone.name})
    assert lines[0] == f"unknown  {gone.name} can't be reached: {count} controls can't be judged there"
    assert len(lines) == 2
    both = [replace(one, ok=None) if one.control == "programs-mode" else one for one in unseen]
    assert "programs-mode" in "\n".join(_shown(judge(plan, both, (), now, {gone.name: "can't be reached"})))
