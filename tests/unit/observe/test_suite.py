"""The state suite as `verify` starts it, and as a person does."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from kharden import resources
from kharden.controls import CONTROLS
from kharden.errors import InputError
from kharden.observe import suite
from kharden.observe.examine import can_be_live
from kharden.observe.exchange import SuiteInput, dump_input, dump_observation, load_input, load_observations
from tests.unit.observe.conftest import AUTHORITIES

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.observe.facts import Snapshot
    from kharden.plan.model import ClusterPlan


def _input(plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str]) -> SuiteInput:
    return SuiteInput(
        plan, snapshot.at, snapshot.passive, dict(snapshot.nodes), {}, {}, {"amd64": digests}, AUTHORITIES, (), None
    )


def _pytest(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", str(resources.folder("tests/state")), "-p", "no:cacheprovider"]
    return subprocess.run([*command, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_every_control_is_observed_on_every_node(
    plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str]
) -> None:
    observations = suite.run(plan, snapshot, {"amd64": digests}, AUTHORITIES, live=0)
    expected = {(control.id, node.name) for control in CONTROLS for node in plan.nodes if control.concerns(node.duties)}
    assert {(one.control, one.node) for one in observations} == expected
    assert {one.ok for one in observations} == {True}
    assert {one.at for one in observations} == {snapshot.at}


def test_failures_and_blind_spots_come_back(
    plan: ClusterPlan,
    snapshot: Snapshot,
    nodes: dict[str, Any],
    digests: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--co")  # what a shell may hold has no say
    nodes["cp1"]["folders"]["/etc/kubernetes/manifests"].append("more.yaml")
    nodes["w1"] = {"error": "w1: can't be reached"}
    observations = suite.run(plan, snapshot, {"amd64": digests}, AUTHORITIES, live=0)
    # Others may still say something of that node; itself it says nothing.
    assert {one.ok for one in observations if one.node == "w1" and one.source == "collector"} == {None}
    assert {one.control for one in observations if one.ok is False} == {"static-pods-control-plane"}


def test_by_hand_without_input_it_says_what_to_do(tmp_path: Path) -> None:
    done = _pytest(cwd=tmp_path)
    assert done.returncode == 4
    assert "give it --kharden-input FILE, or run kharden verify" in done.stderr
    assert "Traceback" not in done.stderr


def test_by_hand_with_input(
    plan: ClusterPlan, snapshot: Snapshot, nodes: dict[str, Any], digests: dict[str, str], tmp_path: Path
) -> None:
    nodes["cp1"]["folders"]["/etc/kubernetes/manifests"].append("more.yaml")
    file = tmp_path / "input.json"
    file.write_bytes(dump_input(_input(plan, snapshot, digests)))
    done = _pytest("--kharden-input", str(file), cwd=tmp_path)
    assert done.returncode == 1
    assert "The static pod folder of a control plane holds its components and nothing else" in done.stdout
    assert "observed: etcd.yaml, kube-apiserver.yaml" in done.stdout


def test_broken_input_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"plan": 1}')
    with pytest.raises(InputError, match=r"no input of the state suite \(plan"):
        load_input(file)
    with pytest.raises(InputError, match="can't be read"):
        load_input(tmp_path / "none")


def test_what_is_handed_over_comes_back_whole(
    plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str], tmp_path: Path
) -> None:
    given = _input(plan, snapshot, digests)
    (tmp_path / "input.json").write_bytes(dump_input(given))
    assert load_input(tmp_path / "input.json") == given
    observations = suite.run(plan, snapshot, {"amd64": digests}, AUTHORITIES, live=0)[:3]
    assert load_observations("".join(map(dump_observation, observations))) == observations


def test_sample_is_repeatable_and_can_be_asked(plan: ClusterPlan, snapshot: Snapshot) -> None:
    chosen = suite.sample(plan, snapshot, 5, seed=7)
    assert chosen == suite.sample(plan, snapshot, 5, seed=7)
    assert chosen != suite.sample(plan, snapshot, 5, seed=8)
    assert len(chosen) == 5 * len(plan.nodes)
    live = {control.id for control in CONTROLS if can_be_live(control)}
    assert {control for control, _ in chosen} <= live
    assert suite.sample(plan, snapshot, 10_000, seed=0)


def test_an_unreachable_node_is_not_asked_again(plan: ClusterPlan, snapshot: Snapshot, nodes: dict[str, Any]) -> None:
    nodes["w1"] = {"error": "w1: can't be reached"}
    assert {node for _, node in suite.sample(plan, snapshot, 3, seed=0)} == {"cp1"}


def test_a_suite_that_breaks_is_an_error(
    plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "test_nothing.py").write_text("raise SystemExit('broken')")
    monkeypatch.setattr(resources, "folder", lambda _: tmp_path)
    with pytest.raises(suite.SuiteError, match="did not come to its end"):
        suite.run(plan, snapshot, {"amd64": digests}, AUTHORITIES, live=0)
