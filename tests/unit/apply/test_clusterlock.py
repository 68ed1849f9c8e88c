"""The lock of a cluster: its program is run by real processes in the place of nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from kharden.apply import clusterlock
from kharden.apply.clusterlock import Way, locked, look
from kharden.errors import RefusedError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Another controller: it says that it has the lock, or what is in its way, and waits to be told to go.
CONTROLLER = """
import sys
from pathlib import Path
from kharden.apply import clusterlock
from kharden.errors import KhardenError
clusterlock.PATH = "lock"
way = clusterlock.Way(tuple(sys.argv[2:]), Path("/none"), (), Path(sys.argv[1]))
try:
    with clusterlock.locked(way, break_lock=False) as lock:
        print("taken", flush=True)
        sys.stdin.read()
        print("lost" if lock.is_lost() else "kept", flush=True)
except KhardenError as error:
    print(error, flush=True)
"""
LEFT = {"who": "anna@laptop", "process": 7, "command": "kharden apply --yes", "since": "2026-11-21T19:00:00Z"}
WHAT_LEFT = "(process 7, `kharden apply --yes`, since 2026-11-21T19:00:00Z; the lock lies on cp1)"


@pytest.fixture(autouse=True)
def place(machines: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(clusterlock, "PATH", "lock")
    return machines


def way(tmp_path: Path, *nodes: str) -> Way:
    return Way(nodes or ("cp1",), tmp_path / "ssh_config", (), tmp_path)


def controller(tmp_path: Path, *nodes: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", CONTROLLER, str(tmp_path), *(nodes or ("cp1",))]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Somebody else who has the lock."""
    with controller(tmp_path) as process:
        assert process.stdout
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


def test_the_second_is_told_who_is_at_work_and_how_that_is_known(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    with pytest.raises(RefusedError) as raised, locked(way(tmp_path), break_lock=False):
        pytest.fail("two at once")
    said = str(raised.value)
    assert " is at work on this cluster (process " in said
    assert f"(process {other.pid}, `-c {tmp_path} cp1`, since 20" in said
    assert "; the lock lies on cp1): wait until it has ended; `apply --break-lock`" in said
    assert [line.partition(" (")[0] for line in look(way(tmp_path))] == [said.partition(" (")[0]]
    assert other.communicate("", timeout=60)[0] == "kept\n"
    with locked(way(tmp_path), break_lock=False) as lock:
        assert not lock.is_lost()


def test_what_was_given_back_leaves_nothing(tmp_path: Path, place: Path) -> None:
    def run(error: type[BaseException]) -> None:
        with locked(way(tmp_path), break_lock=False):
            assert json.loads((place / "cp1/lock").read_text())["process"] == os.getpid()
            raise error

    for error in (RuntimeError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error):
            run(error)
        assert (place / "cp1/lock").read_text() == ""
    assert look(way(tmp_path)) == ()
    assert (place / "cp1/lock").stat().st_mode & 0o7777 == 0o600


def test_a_holder_that_was_killed_has_left_it_until_somebody_says_break(
    tmp_path: Path, place: Path, other: subprocess.Popen[str]
) -> None:
    other.kill()
    other.wait()
    limit = time.monotonic() + 60
    while "was cut off" not in "".join(look(way(tmp_path))):
        assert time.monotonic() < limit
    for _ in range(2):
        with pytest.raises(RefusedError, match="was cut off and has left"), locked(way(tmp_path), break_lock=False):
            pytest.fail("nobody said so")
    with locked(way(tmp_path), break_lock=True) as lock:
        (note,) = lock.notes
        assert note.startswith("the lock of ")
        assert f"was broken (process {other.pid}, " in note
    assert (place / "cp1/lock").read_text() == ""


def test_one_that_is_broken_while_it_is_held_is_lost_to_its_holder(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    with locked(way(tmp_path), break_lock=True) as lock:
        assert len(lock.notes) == 1
        assert other.communicate("", timeout=60)[0] == "lost\n"
        assert not lock.is_lost()
        assert "is at work on this cluster" in "".join(look(way(tmp_path)))
    assert look(way(tmp_path)) == ()


def test_what_was_left_is_told_as_it_was_written(tmp_path: Path, place: Path) -> None:
    (place / "cp1/lock").write_text(json.dumps(LEFT))
    told = f"anna@laptop was cut off and has left the cluster's lock {WHAT_LEFT}"
    assert look(way(tmp_path)) == (told,)
    with (
        pytest.raises(RefusedError, match="see with `plan` what it left undone"),
        locked(way(tmp_path), break_lock=False),
    ):
        pytest.fail("it was left")


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "{}", '{"who": "anna"}'])
def test_a_lock_that_says_nothing_is_one_nevertheless(tmp_path: Path, place: Path, text: str) -> None:
    (place / "cp1/lock").write_text(text)
    with pytest.raises(RefusedError, match=r"^somebody was cut off"), locked(way(tmp_path), break_lock=False):
        pytest.fail("it was left")


def test_a_link_in_its_place_is_not_followed(tmp_path: Path, place: Path) -> None:
    (tmp_path / "aim").write_text("precious")
    (place / "cp1/lock").symlink_to(tmp_path / "aim")
    with (
        pytest.raises(RemoteError, match=r"^cp1: Take the cluster's lock: .*lock"),
        locked(way(tmp_path), break_lock=True),
    ):
        pytest.fail("it was followed")
    assert (tmp_path / "aim").read_text() == "precious"


def test_what_a_login_prints_is_no_answer(tmp_path: Path, place: Path) -> None:
    (place / "cp1/greeting").write_text("Welcome\n\nto cp1\n")
    with locked(way(tmp_path), break_lock=False) as lock:
        assert not lock.is_lost()


def test_more_than_half_of_the_control_planes_are_enough_and_no_less(tmp_path: Path, place: Path) -> None:
    three = way(tmp_path, "cp1", "cp2", "cp3")
    (place / "cp2").rename(place / "away")
    with locked(three, break_lock=False) as lock:
        assert not lock.is_lost()
        assert (place / "cp3/lock").read_text() != ""
    (place / "cp1").rename(place / "gone")
    with pytest.raises(RemoteError) as raised, locked(three, break_lock=False):
        pytest.fail("one of three")
    route = "can't be reached: ssh: connect to host {0} port 22: No route to host"
    assert raised.value.details == tuple(
        f"{name}: Take the cluster's lock: {route.format(name)}" for name in ("cp1", "cp2")
    )
    assert "nothing was changed" in raised.value.remedy
    assert (place / "cp3/lock").read_text() == ""
    assert look(three) == ()


def test_whose_lock_was_broken_is_told_too_where_it_was_not_enough(tmp_path: Path, place: Path) -> None:
    left = {"who": "anna@laptop", "process": 7, "command": "kharden apply", "since": "2026-11-21T19:00:00Z"}
    (place / "cp3/lock").write_text(json.dumps(left))
    for name in ("cp1", "cp2"):
        (place / name).rename(place / f"away-{name}")
    with pytest.raises(RemoteError) as raised, locked(way(tmp_path, "cp1", "cp2", "cp3"), break_lock=True):
        pytest.fail("one of three")
    assert raised.value.details[-1].startswith("the lock of anna@laptop was broken")


def test_one_that_is_held_anywhere_is_held(tmp_path: Path, place: Path, other: subprocess.Popen[str]) -> None:
    assert other.poll() is None
    with (
        pytest.raises(RefusedError, match="the lock lies on cp1"),
        locked(way(tmp_path, "cp1", "cp2", "cp3"), break_lock=False),
    ):
        pytest.fail("cp1's is another's")
    assert [(place / name / "lock").read_text() for name in ("cp2", "cp3")] == ["", ""]


def test_of_many_at_once_one_has_it_at_most(tmp_path: Path) -> None:
    nodes = ("cp1", "cp2", "cp3")
    processes = [controller(tmp_path, *nodes) for _ in range(6)]
    said = []
    for process in processes:
        assert process.stdout
        said.append(process.stdout.readline())
    for process in processes:
        process.communicate("", timeout=60)
    assert said.count("taken\n") <= 1
    assert all(line == "taken\n" or "is at work on this cluster" in line for line in said)
    assert look(way(tmp_path, *nodes)) == ()


def test_who_may_not_be_root_there_is_told_the_remedy(tmp_path: Path, place: Path) -> None:
    sudo = "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n"
    (tmp_path / "programs/ssh").write_text(sudo, encoding="utf-8")
    with (
        pytest.raises(RemoteError, match="who logs in there can't become root: let sudo"),
        locked(way(tmp_path), break_lock=False),
    ):
        pytest.fail("nobody is root")
    assert not (place / "cp1/lock").exists()
