from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kharden import buildlock
from kharden.apply import cluster, clusterlock
from kharden.apply.build import load
from kharden.apply.choice import Choice
from kharden.apply.cluster import apply
from kharden.apply.runner import ApplyResult, Change, Progress, Run, RunError
from kharden.apply.saved import load as load_plan
from kharden.apply.saved import save
from kharden.errors import IntegrityError, RefusedError, RemoteError
from playbooks.module_utils.kharden.payload import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.apply.saved import SavedPlan
    from kharden.seal import Identities

    from .conftest import Written


class Silent:
    """Shows nothing."""

    def phase(self, name: str) -> None:
        """A phase begins."""

    def task(self, node: str, name: str, state: str) -> None:
        """A task ended."""


@pytest.fixture(autouse=True)
def lock(machines: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cluster's lock on its control plane."""
    monkeypatch.setattr(clusterlock, "PATH", "lock")
    return machines / "cp1" / "lock"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Run, dict[str, bytes]]]:
    """Runs that were begun, each with the payloads that Ansible would have found; none is really run."""
    begun: list[tuple[Run, dict[str, bytes]]] = []

    def run(request: Run, _progress: Progress) -> ApplyResult:
        folder = request.workspace / "payloads"
        assert all(path.stat().st_mode & 0o7777 == 0o600 for path in folder.iterdir())
        begun.append((request, {path.stem: path.read_bytes() for path in folder.iterdir()}))
        return ApplyResult("successful")

    monkeypatch.setattr(cluster, "run", run)
    return begun


_EVERYTHING = Choice()


def applied(  # as apply takes them
    written: Written,
    *,
    digest: str = "",
    identities: Identities | None = None,
    choice: Choice = _EVERYTHING,
    saved: SavedPlan | None = None,
    check: bool = False,
    break_lock: bool = False,
) -> ApplyResult:
    return apply(
        written.folder,
        spec_digest=digest or written.digest,
        identities=identities or written.identities,
        cache=Path("/cache"),
        progress=Silent(),
        choice=choice,
        saved=saved,
        check=check,
        break_lock=break_lock,
    )


def test_every_node_gets_its_payload_in_memory_and_nothing_of_it_stays(
    written: Written, runs: list[tuple[Run, dict[str, bytes]]]
) -> None:
    assert applied(written).status == "successful"
    ((request, payloads),) = runs
    assert payloads.keys() == {"cp1", "w1"}
    for node in written.build.nodes:
        placed = {entry.path for entry in decode(payloads[node.node].decode())}
        assert {file.path for file in node.files} <= placed
    assert (request.build, request.cache, request.check, request.diff) == (written.folder, Path("/cache"), False, False)
    assert not request.workspace.exists()


def test_a_plan_looks_only(written: Written, runs: list[tuple[Run, dict[str, bytes]]]) -> None:
    applied(written, check=True)
    assert (runs[0][0].check, runs[0][0].diff) == (True, True)


def test_a_build_of_another_cluster_yaml_is_not_begun(
    written: Written, runs: list[tuple[Run, dict[str, bytes]]]
) -> None:
    with pytest.raises(RefusedError, match=r"cluster\.yaml was changed"):
        applied(written, digest="0" * 64)
    assert not runs


def test_a_build_that_was_changed_is_not_begun_on_any_node(
    written: Written, runs: list[tuple[Run, dict[str, bytes]]]
) -> None:
    (written.folder / "nodes/w1/files/etc/haproxy/haproxy.cfg").write_text("listen everything\n")
    with pytest.raises(IntegrityError):
        applied(written)
    assert not runs


# --- one at a time

HOLDER = """
import signal, sys
from pathlib import Path
from kharden.buildlock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


@pytest.fixture
def holder(written: Written) -> Iterator[subprocess.Popen[str]]:
    """Another process that applies this build."""
    argv = [sys.executable, "-c", HOLDER, str(written.folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_apply_is_told_who_is_at_it(
    written: Written, holder: subprocess.Popen[str], runs: list[tuple[Run, dict[str, bytes]]]
) -> None:
    with pytest.raises(RefusedError, match=rf"process {holder.pid} works with it now: wait until it has ended"):
        applied(written)
    assert not runs


def test_the_lock_goes_with_its_process_however_that_ends(
    written: Written, holder: subprocess.Popen[str], runs: list[tuple[Run, dict[str, bytes]]]
) -> None:
    holder.kill()
    holder.wait()
    assert applied(written).status == "successful"
    assert len(runs) == 1


def test_the_lock_goes_with_an_error_too(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_request: Run, _progress: Progress) -> ApplyResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "run", run)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            applied(written)


def test_a_run_holds_the_clusters_lock_and_gives_it_back(
    written: Written, monkeypatch: pytest.MonkeyPatch, lock: Path
) -> None:
    def run(request: Run, _progress: Progress) -> ApplyResult:
        assert json.loads(lock.read_text())["process"] == os.getpid()
        assert not request.is_lost()
        return ApplyResult("successful")

    monkeypatch.setattr(cluster, "run", run)
    assert applied(written).notes == []
    assert lock.read_text() == ""


LEFT = '{"who": "anna@laptop", "process": 7, "command": "kharden apply", "since": "2026-11-21T19:00:00Z"}'


def test_a_lock_that_was_left_stops_an_apply_until_it_is_broken_and_a_plan_tells(
    written: Written, runs: list[tuple[Run, dict[str, bytes]]], lock: Path
) -> None:
    lock.write_text(LEFT)
    with pytest.raises(RefusedError, match=r"^anna@laptop was cut off and has left the cluster's lock \(process 7"):
        applied(written)
    assert not runs
    (note,) = applied(written, check=True).notes
    assert note.startswith("anna@laptop was cut off")
    (note,) = applied(written, break_lock=True).notes
    assert note.startswith("the lock of anna@laptop was broken")
    assert applied(written).notes == []


def test_a_run_that_fails_says_too_whose_lock_was_left_or_broken(
    written: Written, monkeypatch: pytest.MonkeyPatch, lock: Path
) -> None:
    def run(_request: Run, _progress: Progress) -> ApplyResult:
        raise RunError(RemoteError("w1: no room"), ApplyResult("failed", notes=["w1: its own"]))

    monkeypatch.setattr(cluster, "run", run)
    lock.write_text(LEFT)
    with pytest.raises(RunError) as caught:
        applied(written, check=True)
    left, own = caught.value.result.notes
    assert (left.partition(" (")[0], own) == ("anna@laptop was cut off and has left the cluster's lock", "w1: its own")
    with pytest.raises(RunError) as caught:
        applied(written, choice=Choice(limit=("w1",)), break_lock=True)
    broken, objects, own = caught.value.result.notes
    assert broken.startswith("the lock of anna@laptop was broken")
    assert (objects.partition(",")[0], own) == ("objects of the cluster were left as they are", "w1: its own")
    assert caught.value.result.build == load(written.folder, written.digest).digest


def test_another_build_beside_it_is_free(written: Written, holder: subprocess.Popen[str]) -> None:
    assert holder.poll() is None
    with buildlock.held(written.folder.with_name("other")):
        assert (written.folder.parent / ".other.lock").exists()


def test_a_lock_that_is_a_link_is_refused(
    written: Written, runs: list[tuple[Run, dict[str, bytes]]], tmp_path: Path
) -> None:
    (tmp_path / "aim").write_text("precious")
    (written.folder.parent / ".lab.lock").symlink_to(tmp_path / "aim")
    with pytest.raises(RefusedError, match=r"\.lab\.lock: can't lock the build"):
        applied(written)
    assert (tmp_path / "aim").read_text() == "precious"
    assert not runs
    assert os.path.lexists(written.folder.parent / ".lab.lock")


# --- a saved plan


@pytest.fixture
def plan(written: Written, tmp_path: Path) -> SavedPlan:
    build = load(written.folder, written.digest)
    save(tmp_path / "plan.json", "lab", Choice(), ApplyResult(build=build.digest), now=datetime.now(UTC))
    return load_plan(tmp_path / "plan.json", "lab")


def test_a_saved_plan_is_compared_with_a_look_before_it_is_applied(
    written: Written, plan: SavedPlan, runs: list[tuple[Run, dict[str, bytes]]]
) -> None:
    applied(written, saved=plan)
    assert [(request.check, request.diff) for request, _ in runs] == [(True, True), (False, False)]


def test_a_node_that_moved_on_since_the_plan_is_not_touched(
    written: Written, plan: SavedPlan, monkeypatch: pytest.MonkeyPatch, lock: Path
) -> None:
    begun: list[Run] = []

    def run(request: Run, _progress: Progress) -> ApplyResult:
        begun.append(request)
        return ApplyResult("successful", changes=[Change("cp1", "Place all files", ())])

    monkeypatch.setattr(cluster, "run", run)
    lock.write_text(LEFT)
    moved = r"^cp1: has moved on since the plan of .*: Place all files has come"
    with pytest.raises(RefusedError, match=moved) as caught:
        applied(written, saved=plan, break_lock=True)
    assert [request.check for request in begun] == [True]
    assert caught.value.details[-1].startswith("the lock of anna@laptop was broken")


def test_a_plan_of_another_build_is_refused_before_any_node_is_asked(
    written: Written, plan: SavedPlan, runs: list[tuple[Run, dict[str, bytes]]]
) -> None:
    manifest = written.folder / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(RefusedError, match="the build was rendered anew since this plan"):
        applied(written, saved=plan)
    assert not runs


def test_only_nodes_of_the_limit_get_a_payload(written: Written, runs: list[tuple[Run, dict[str, bytes]]]) -> None:
    result = applied(written, choice=Choice(limit=("w1",)))
    ((request, payloads),) = runs
    assert payloads.keys() == {"w1"}
    assert (request.stage.nodes, request.stage.others) == (("w1",), ("cp1",))
    assert result.notes == ["objects of the cluster were left as they are, since no control plane is in --limit"]
