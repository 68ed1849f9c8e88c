# SPDX-License-Identifier: Apache-2.0
"""From where this run came to the node: sshd tells it to the processes of a session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIABLE = b"SSH_CONNECTION="


def connection(proc: Path = Path("/proc")) -> tuple[str, int] | None:
    """The other side's address, as this node sees it, and the port of sshd here; None without an ssh session.

    sudo takes SSH_CONNECTION (ssh(1)) out of the environment, so the processes above this one are asked as well.
    """
    for folder in _ancestry(proc, os.getpid()):
        try:
            entries = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for entry in entries:
            fields = entry.removeprefix(_VARIABLE).decode(errors="replace").split()
            if entry.startswith(_VARIABLE) and len(fields) == 4 and fields[3].isdecimal():  # noqa: PLR2004 - ssh(1)
                return fields[0].partition("%")[0], int(fields[3])
    return None


def _ancestry(proc: Path, pid: int) -> Iterator[Path]:
    while pid > 0:
        folder = proc / str(pid)
        yield folder
        try:
            # proc_pid_stat(5): the name in parentheses may hold anything; the parent is the second field after it.
            pid = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return
