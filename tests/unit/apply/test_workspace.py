from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kharden.apply import workspace as module
from kharden.apply.workspace import workspace
from kharden.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Enters a workspace, puts a secret there, says where, and waits until it is ended.
PROGRAM = """
import signal, sys
from kharden.apply.workspace import workspace
with workspace() as folder:
    (folder / "payload").write_text("a secret")
    print(folder, flush=True)
    signal.pause()
"""


def mount_type(path: Path) -> str:
    """What findmnt(8) of util-linux, which every Debian has, says of the filesystem that holds a path."""
    argv = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[-1]


@contextmanager
def ended_after(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block also where that fails; else the test would wait for it and never say why."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_it_is_private_and_in_memory_and_goes(memory: Path) -> None:
    with workspace() as folder:
        assert folder.parent == memory
        assert folder.stat().st_mode & 0o7777 == 0o700
        assert folder.stat().st_uid == os.geteuid()
        assert mount_type(folder) in {"tmpfs", "ramfs"}
        (folder / "below").mkdir()
        (folder / "below" / "payload").write_text("a secret")
    assert not folder.exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_it_goes_however_the_run_ends(error: type[BaseException]) -> None:
    kept: list[Path] = []

    def run() -> None:
        with workspace() as folder:
            kept.append(folder)
            (folder / "payload").write_text("a secret")
            raise error

    with pytest.raises(error):
        run()
    assert kept
    assert not kept[0].exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_goes_when_somebody_ends_the_process(number: signal.Signals) -> None:
    argv = [sys.executable, "-c", PROGRAM]
    with ended_after(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().strip())
        assert (folder / "payload").exists()
        process.send_signal(number)
        assert process.wait(120) != 0
    assert not folder.exists()


def test_what_a_killed_run_left_goes_with_the_next_and_one_that_lives_keeps_its_own() -> None:
    argv = [sys.executable, "-c", PROGRAM]
    with (
        ended_after(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)) as killed,
        ended_after(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)) as alive,
    ):
        assert killed.stdout
        assert alive.stdout
        left, kept = Path(killed.stdout.readline().strip()), Path(alive.stdout.readline().strip())
        # Something that it had started, and that outlives it.
        outlives = ["sh", "-c", "read line", str(left)]
        with ended_after(
            subprocess.Popen(outlives, stdin=subprocess.PIPE, text=True, start_new_session=True)
        ) as helper:
            killed.kill()
            killed.wait()
            assert (left / "payload").exists()
            with workspace():
                assert not left.exists()
                assert (kept / "payload").exists()
            assert helper.wait(120) == -signal.SIGKILL
        alive.terminate()
        alive.wait(120)
        assert not kept.exists()


def test_signals_do_afterwards_what_they_did_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with workspace():
        # As ansible-runner does, which never puts them back.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_folder_of_the_user_that_is_no_memory_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc/self")
    with workspace() as folder:
        assert mount_type(folder) in {"tmpfs", "ramfs"}


def test_without_memory_to_work_on_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY", ())
    with pytest.raises(MissingError, match=r"no tmpfs to work on: .*: mount one on /dev/shm"), workspace():
        pytest.fail("it went on")
