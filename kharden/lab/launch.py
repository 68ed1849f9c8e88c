"""Starts one node in the background and again when it reboots; a program of its own, on Python's library alone.

`python -I launch.py MARK` runs in a mount namespace of its own, so that the node's overlay goes away with the node,
however that ends. MARK is only there to find this process by. From standard input it reads one JSON object:
`launcher_groups` and `groups` (cgroup folders for this process and for the node), `overlay` (mount options), `root`
(mount point), `console` (log file), `arguments` and `environment` of systemd-nspawn.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable

# With --keep-unit, systemd-nspawn leaves it to its caller to start a rebooted container again, and says so by this exit
# status (systemd's src/nspawn/nspawn.c, EXIT_FORCE_RESTART).
_REBOOT = 133
# linux/prctl.h.
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Mount the overlay, and leave the node behind in a session of its own."""
    node: dict[str, Any] = json.load(sys.stdin)
    subprocess.run(
        ["mount", "--no-mtab", "--types", "overlay", "--options", node["overlay"], "overlay", node["root"]], check=True
    )
    _enter(node["launcher_groups"])
    if os.fork():
        return
    os.setsid()
    os.umask(0o022)
    os.chdir("/")
    _redirect(node["console"])
    _adopt_orphans()
    while True:
        child = os.fork()
        if child == 0:
            _become(node)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        _end_orphans()
        if ended != _REBOOT:
            return


def _become(node: dict[str, Any]) -> NoReturn:
    _enter(node["groups"])
    # Python ignores this signal, and ignored ones are inherited.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execve(node["arguments"][0], node["arguments"], node["environment"])  # noqa: S606  # a list, and no shell


def _adopt_orphans() -> None:
    """Become the parent of the node's process 1 should systemd-nspawn be killed (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_orphans() -> None:
    """End the node with its systemd-nspawn: a second one on its disk would ruin that."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # proc_pid_stat(5): the parent is the second field after the name in parentheses.
            parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid():
            os.kill(int(stat.parent.name), signal.SIGKILL)
            os.waitpid(int(stat.parent.name), 0)


def _enter(groups: Iterable[str]) -> None:
    for group in groups:
        (Path(group) / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def _redirect(console: str) -> None:
    silence = os.open(os.devnull, os.O_RDONLY)
    log = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(silence, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, max(silence, log) + 1)


if __name__ == "__main__":
    main()
