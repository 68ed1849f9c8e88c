"""A private folder in memory for one run: payloads, ansible-runner's artifacts and Ansible's own temporary files."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY = ("tmpfs", "ramfs")
_PREFIX = "kharden-run-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder of mode 0700 on tmpfs, removed in the end, however the run ends; after SIGKILL by the next run.

    Raises:
        MissingError: this machine has no tmpfs that we may write to.
    """
    memory = _memory()
    _clear(memory)
    with _signals():
        folder, lock = _make(memory)
        try:
            yield folder
        finally:
            _remove(folder)
            os.close(lock)


def _make(memory: Path) -> tuple[Path, int]:
    """A folder and its lock, which the kernel lets go of with this process; it has its name only when it is locked."""
    made = Path(tempfile.mkdtemp(prefix=".kharden-", dir=memory))
    lock = os.open(made, _FOLDER)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return made.rename(made.with_name(made.name.replace(".kharden-", _PREFIX))), lock


def _clear(memory: Path) -> None:
    """Remove what runs of ours left that were killed: payloads are in there."""
    for folder in memory.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it is another user's, is in use, or has just gone
            if folder.lstat().st_uid != os.geteuid():
                continue
            lock = os.open(folder, _FOLDER)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
            finally:
                os.close(lock)


def _remove(folder: Path) -> None:
    while _end_helpers(folder):
        time.sleep(0.05)  # until the kernel has let go of them
    shutil.rmtree(folder, ignore_errors=True)


def _end_helpers(folder: Path) -> bool:
    """Kill whatever still has `folder` on its command line; False if there was nothing.

    Ansible's workers and ssh's masters lead sessions of their own: the workers outlive a run that is interrupted, and
    the masters every run. The folder's name is random and this run's alone.
    """
    found = False
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(folder) in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
                found = True
    return found


@contextmanager
def _signals() -> Iterator[None]:
    """What by default ends us on the spot is an exception here; and what ansible-runner sets is undone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ends = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ends)}
    for number in ends:
        if before[number] is signal.SIG_DFL:  # under nohup(1) a hangup stays ignored
            signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _memory() -> Path:
    candidates = [os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm", "/run"]  # noqa: S108  # checked to be tmpfs
    for candidate in filter(None, candidates):
        path = Path(candidate)
        if os.access(path, os.W_OK) and _filesystem(path) in _MEMORY:
            return path
    raise MissingError(
        "no tmpfs to work on: secrets may not touch this machine's disk", remedy="mount one on /dev/shm (mount(8))"
    )


def _filesystem(path: Path) -> str:
    """The type of the filesystem that holds `path` (proc_pid_mountinfo(5): the field after the separator)."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields[2] == wanted:
            return fields[fields.index("-") + 1]
    return ""
