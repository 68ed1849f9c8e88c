"""A node's container as the host sees it: finding, entering and stopping it. The kernel alone says whether it runs."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.lab.places import node_folder
from kharden.lab.programs import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_POWER_OFF_SECONDS = 20.0
_KILL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A running container, by the numbers of its processes on the host; during a reboot only the launcher is there.

    Attributes:
        pid: the one that lives as long as the node: launch.py, which starts it again after a reboot, or the supervisor
            should that one have died.
        supervisor: systemd-nspawn.
        leader: its process 1.
    """

    pid: int
    supervisor: int | None
    leader: int | None

    @property
    def since(self) -> datetime:
        """When it was started, or booted again; to the second."""
        return _started(self.supervisor or self.pid)


def find_machine(lab_name: str, node_name: str) -> Machine | None:
    """The node's container if it runs, whoever started it."""
    supervisors, launchers = _marked(lab_name, node_name)
    parents = dict(_parents())
    # Just forked children still bear their parent's arguments.
    supervisor = next((pid for pid in supervisors if parents.get(pid) not in supervisors), None)
    launcher = next((pid for pid in launchers if parents.get(pid) not in launchers), None)
    pid = launcher or supervisor
    if pid is None:
        return None
    children = [child for child, parent in parents.items() if supervisor and parent == supervisor]
    return Machine(pid, supervisor, next((child for child in children if _is_first(child)), None))


def directory_argument(lab_name: str, node_name: str) -> str:
    """The argument of systemd-nspawn by which this node is known among the host's processes."""
    return f"--directory={node_folder(lab_name, node_name)}/root"


def enter_arguments(leader: int) -> list[str]:
    """nsenter(1) into a node: all its namespaces and its root folder."""
    return [
        path_of("nsenter", "util-linux"),
        f"--target={leader}",
        *("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--"),
    ]


def stop_machines(lab_name: str, node_names: Sequence[str]) -> None:
    """Power these nodes off, all at once; what is not off in time is killed."""
    for name in node_names:
        # First, so that none is started again behind our back.
        while launchers := _marked(lab_name, name)[1]:
            for pid in launchers:
                _signal(pid, signal.SIGKILL)
                with watched(pid) as ended:
                    ended(_KILL_SECONDS)
    machines = [machine for name in node_names if (machine := find_machine(lab_name, name))]
    for machine in machines:
        # systemd-nspawn passes this on to process 1 as its request for a clean power-off.
        _signal(machine.supervisor, signal.SIGTERM)
    deadline = time.monotonic() + _POWER_OFF_SECONDS
    for machine in machines:
        with watched(machine.pid) as ended:
            # The kernel ends a container with its process 1, and systemd-nspawn then clears up behind it.
            if not ended(max(0.0, deadline - time.monotonic())):
                _signal(machine.leader, signal.SIGKILL)
            if not ended(_KILL_SECONDS):
                _signal(machine.supervisor, signal.SIGKILL)
                ended(_KILL_SECONDS)


@contextmanager
def watched(pid: int) -> Iterator[Callable[[float], bool]]:
    """Yields a function that waits up to so many seconds for the process's end and says whether it came."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        yield lambda _: True
        return
    try:
        yield lambda seconds: bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def is_program_running(name: str) -> bool:
    """Whether any process on this host is of that program."""
    return any(Path(arguments[0]).name == name for _, arguments in _processes())


def _marked(lab_name: str, node_name: str) -> tuple[list[int], list[int]]:
    """The processes that bear the node's mark: those of systemd-nspawn, and those of launch.py.

    Anybody can start a process with any arguments; one of another user's would have us enter its namespaces as root.
    """
    mark = directory_argument(lab_name, node_name)
    own = ((pid, parts) for pid, parts in _processes() if mark in parts and _is_ours(pid))
    marked = [(pid, [Path(part).name for part in parts]) for pid, parts in own]
    supervisors = [pid for pid, names in marked if names[0] == "systemd-nspawn"]
    return supervisors, [pid for pid, names in marked if "launch.py" in names]


def _processes() -> list[tuple[int, list[str]]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if arguments[0]:
                found.append((int(folder.name), arguments))
    return sorted(found)


def _is_ours(pid: int) -> bool:
    """Whether its effective user is ours: the folder itself belongs to that user also where what is in it doesn't."""
    with suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid == os.geteuid()
    return False


def _parents() -> list[tuple[int, int]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.append((int(folder.name), int(_stat_fields(folder)[1])))
    return found


def _stat_fields(folder: Path) -> list[str]:
    # proc_pid_stat(5): the name in parentheses may hold anything; the fields after it begin with the third.
    return (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _is_first(pid: int) -> bool:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("NSpid:"):
                return line.split()[-1] == "1"
    return False


def _started(pid: int) -> datetime:
    ticks = int(_stat_fields(Path(f"/proc/{pid}"))[19])
    booted = next(
        int(line.split()[1])
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines()
        if line.startswith("btime ")
    )
    return datetime.fromtimestamp(booted + ticks // os.sysconf("SC_CLK_TCK"), tz=UTC)


def _signal(pid: int | None, number: signal.Signals) -> None:
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, number)
