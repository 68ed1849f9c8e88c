# SPDX-License-Identifier: Apache-2.0
"""The processes of this node, from proc(5). What counts as a restart is seen here, not taken from a program's exit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc")
_STARTTIME = 22 - 3  # field 22 of proc_pid_stat(5); what follows the name begins with field 3


@dataclass(frozen=True, slots=True)
class Process:
    """A process; `pid` and `start` (clock ticks since boot) together name it uniquely until the next boot."""

    pid: int
    start: int
    names: frozenset[str]  # the base names of its executable and of its first argument
    in_pod: bool
    on_node_network: bool

    @property
    def name(self) -> str:
        """One name, for a message."""
        return min(self.names, default="unknown")


def start_of(stat: str) -> int:
    """The start time in a text of /proc/PID/stat, whose second field may hold blanks and parentheses."""
    return int(stat.rpartition(")")[2].split()[_STARTTIME])


def is_pod_cgroup(cgroup: str) -> bool:
    """True if a text of /proc/PID/cgroup lies below a kubelet's root for pods, with either cgroup driver."""
    paths = (line.split(":", 2)[-1] for line in cgroup.splitlines())
    return any(part in ("kubepods", "kubepods.slice") for path in paths for part in path.split("/"))


def process(pid: int, proc: Path = PROC) -> Process | None:
    """The process `pid`; None if it is gone, a zombie, a kernel thread or not ours to see."""
    folder = proc / str(pid)
    try:
        start = start_of((folder / "stat").read_text(encoding="utf-8", errors="replace"))
        first = (folder / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
        executable = str((folder / "exe").readlink()).removesuffix(" (deleted)")
        cgroup = (folder / "cgroup").read_text(encoding="utf-8", errors="replace")
        network = (folder / "ns/net").readlink()
    except (OSError, ValueError):
        return None
    names = frozenset(filter(None, (Path(executable).name, Path(first).name)))
    mine = (PROC / "self/ns/net").readlink()
    return Process(pid, start, names, is_pod_cgroup(cgroup), network == mine)


def processes(proc: Path = PROC) -> Iterator[Process]:
    """Every process that can be seen."""
    for entry in proc.iterdir():
        if entry.name.isdecimal() and (found := process(int(entry.name), proc)):
            yield found
