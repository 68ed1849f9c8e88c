"""Runs that meet each other, and runs that are cut off."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.faults.waiting import await_line, helpers, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.conftest import Node, Run, Site, Start

pytestmark = [pytest.mark.lab, pytest.mark.programs]

SCHEDULER = "/etc/kubernetes/manifests/kube-scheduler.yaml"
# What keeps a run busy for some seconds: a static pod that somebody has changed.
WORK = f"sed 's/--profiling=false/--profiling=true/' {SCHEDULER} > /run/x && mv /run/x {SCHEDULER}"
# What the next run says while a node still does what an interrupted one has begun there.
BUSY = "another run is changing this node"


@contextmanager
def begun(start: Start, log: Path, phase: str) -> Iterator[subprocess.Popen[str]]:
    """An apply that has come to that phase."""
    with log.open("w") as output:
        process = start("apply", "--yes", output=output)
        await_line(log, phase, process)
        yield process


def test_of_two_runs_at_once_the_second_is_told_who_runs(
    site: Site, kharden: Run, start: Start, node: Node, tmp_path: Path
) -> None:
    node("cp1", WORK)
    with begun(start, tmp_path / "first", "Preflight") as first:
        for command in (("apply", "--yes"), ("plan",), ("render",)):
            refused = kharden(*command, status=1).stderr
            assert f"build/faults: process {first.pid} works with it now" in refused
            assert len(refused.splitlines()) == 1
        assert first.wait(300) == 0
    assert "nothing to change" in kharden("plan").stdout
    wait_for(lambda: not helpers(site), "the end of all that worked for it", 60)


@pytest.fixture(params=[signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that the runs don't inherit as ignored, as below nohup(1)."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def test_what_cuts_a_run_off_leaves_nothing_behind(
    site: Site, start: Start, node: Node, tmp_path: Path, number: signal.Signals
) -> None:
    node("cp1", WORK)
    log = tmp_path / "log"
    with begun(start, log, "Host, programs and runtime") as process:
        os.killpg(process.pid, number)
        assert process.wait(60) != 0
    assert "Traceback" not in log.read_text(encoding="utf-8")
    wait_for(lambda: not helpers(site), "the end of all that worked for it", 60)
    assert list(site.memory.iterdir()) == []


def test_a_run_that_is_interrupted_in_the_middle_is_finished_by_the_next(
    site: Site, kharden: Run, start: Start, node: Node, tmp_path: Path
) -> None:
    node("cp1", WORK)
    log = tmp_path / "log"
    with begun(start, log, "What kubeadm made") as process:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 1
    said = log.read_text(encoding="utf-8")
    assert "kharden: it was interrupted: apply again" in said
    assert "Traceback" not in said
    wait_for(lambda: not helpers(site), "the end of all that worked for it", 60)
    wait_for(lambda: applied(start, tmp_path / "next"), "the next run", 300)
    kharden("verify")


def applied(start: Start, log: Path) -> bool:
    """Whether the next run did it all; a node may be busy yet, which it then says."""
    with log.open("w") as output:
        status = start("apply", "--yes", output=output).wait(300)
    said = log.read_text(encoding="utf-8")
    assert status == 0 or BUSY in said, said
    return status == 0


@pytest.fixture
def second(site: Site, tmp_path: Path) -> Callable[..., str]:
    """The same cluster in another checkout, as on another machine: what its program says, its exit status before."""
    for name in ("inventories", "build"):
        shutil.copytree(site.root / name, tmp_path / "second" / name)

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [site.command, *arguments],
            cwd=tmp_path / "second",
            env=site.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        return f"{done.returncode} {done.stdout}{done.stderr}"

    return run


def test_of_two_controllers_one_works_and_a_lock_that_was_left_is_broken_only_when_told(  # noqa: PLR0917  # fixtures
    site: Site, kharden: Run, start: Start, node: Node, second: Callable[..., str], tmp_path: Path
) -> None:
    node("cp1", WORK)
    with begun(start, tmp_path / "first", "Preflight") as first:
        whose = f"(process {first.pid}, `kharden apply --yes`, since 20"
        refused = second("apply", "--yes").splitlines()
        assert refused[-1].startswith("kharden: ")
        assert f" is at work on this cluster {whose}" in refused[-1]
        assert "; the lock lies on cp1): wait until it has ended" in refused[-1]
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    left = f" was cut off and has left the cluster's lock {whose}"
    wait_for(lambda: left in kharden("apply", "--yes", status=1).stderr, "the lock is known to be left", 120)
    assert left in second("plan")
    assert left in second("apply", "--yes")
    node("cp1", "flock --timeout 300 /var/lib/kharden true")  # what it had begun there runs to its end
    went_on = kharden("apply", "--yes", "--break-lock").stdout
    assert "Note: the lock of " in went_on
    assert f" was broken {whose}" in went_on
    assert kharden("apply", "--yes").stdout.count("Note: ") == 0
    assert list(site.memory.iterdir()) == []  # also of the one that was killed
    assert second("plan").startswith("0 ")
