"""How long something takes and how much memory it has, the machine that it was on, and tables of it."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_REST = 20  # times what a look took: to look is not to slow down what is measured
_PAUSE = 0.1  # seconds between two looks at memory
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a program: what it printed, how long it took, and the most that it and all its children had at once.

    What processes share counts once.
    """

    output: str
    seconds: float
    peak_mib: int


def run(argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Run:
    """Run a program that must succeed."""
    begun = time.monotonic()
    with subprocess.Popen(
        argv, cwd=cwd, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        peak = _Peak(process.pid)
        with peak:
            output, said = process.communicate()
        seconds = time.monotonic() - begun
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}: exit status {process.returncode}\n{output}\n{said}")
    return Run(output, seconds, peak.most // _MIB)


def best(runs: Sequence[Run]) -> Run:
    """The quickest: what else the machine did only ever adds."""
    return min(runs, key=lambda one: one.seconds)


def spread(runs: Sequence[Run]) -> str:
    """The quickest, and the median beside it."""
    seconds = [one.seconds for one in runs]
    return f"{min(seconds):.1f} s (median {median(seconds):.1f}, of {len(seconds)})"


class _Peak:
    """Looks at a process and its children, again and again."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.most = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        pause = _PAUSE
        while not self._done.wait(pause):
            begun = time.thread_time()
            self.most = max(self.most, memory(self.pid))
            pause = max(_PAUSE, _REST * (time.thread_time() - begun))


def memory(root: int) -> int:
    """Bytes that a process and all below it have, what they share counted once (proc_pid_smaps(5): Pss)."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
    tree = {root}
    for pid in sorted(parents):  # a child is rarely older than its parent; where numbers wrapped it counts next time
        if parents[pid] in tree:
            tree.add(pid)
    return sum(map(_share, tree))


def _share(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def machine() -> str:
    """The machine in a line."""
    rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    size = int(rows["MemTotal"].split()[0]) / (1 << 20)
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    kernel = platform.release().partition("-")[0]
    return (
        f"{len(os.sched_getaffinity(0))} cores ({model}), {size:.0f} GiB of memory, Linux {kernel}, "
        f"Python {platform.python_version()}"
    )


def load() -> str:
    """How busy the machine is, over the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


@dataclass(frozen=True, slots=True)
class Part:
    """One benchmark: its name, and what measures it and returns the rows of a table, the first of them its head.

    docs/performance.md has a place for its table, marked with its name, and tells about it.
    """

    name: str
    measure: Callable[[], list[tuple[str, ...]]]


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as Markdown, the first of them the head."""
    head, *others = rows
    lines = [head, tuple("---" for _ in head), *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
