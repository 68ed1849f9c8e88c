"""One writer per cluster, whatever machine or checkout it runs on: a lock on the control planes (docs/adr/0024)."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kharden import ssh
from kharden.errors import RefusedError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Mode = Literal["take", "break", "look"]

# On tmpfs: a node that has booted anew is nobody's.
PATH = "/run/kharden.lock"
_PROGRAM = Path(__file__).with_name("holding.py")
_SECONDS_TO_END = 5.0
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Way:
    """How the control planes are reached.

    Attributes:
        nodes: their names.
        config: the ssh configuration.
        arguments: what ssh is given before a node's name.
        workspace: the run's private folder.
    """

    nodes: tuple[str, ...]
    config: Path
    arguments: tuple[str, ...]
    workspace: Path


class _Hold:
    """The lock on one control plane, kept by a process of ssh.

    Attributes:
        state: as in `holding`, or empty where there was no answer.
        holder: who had it before.
    """

    def __init__(self, way: Way, node: str) -> None:
        self.node = node
        self.state = ""
        self.holder: object = None
        self._errors = tempfile.TemporaryFile(dir=way.workspace)  # noqa: SIM115  # the process writes into it
        program = shlex.quote(_PROGRAM.read_text(encoding="utf-8"))
        self._process = subprocess.Popen(
            ["ssh", *way.arguments, node, f"exec $([ $(id -u) = 0 ] || echo sudo -n) python3 -I -c {program}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,  # no pipe: the connection that stays for others keeps it open
            env=ssh.environment(),
            # Ctrl-C is for us alone: the lock is given back when all that worked under it has ended.
            start_new_session=True,
        )

    def ask(self, request: dict[str, Any]) -> None:
        """Ask for the lock."""
        self._say(json.dumps(request))

    def listen(self) -> None:
        """Wait for the answer, which may come after what a login prints."""
        line = b" "
        while self._process.stdout and line and not line.startswith(b"{"):
            line = self._process.stdout.readline()
        if line.startswith(b"{"):
            answer = json.loads(line)
            self.state, self.holder = answer["state"], answer["holder"]

    def _say(self, text: str) -> None:
        with suppress(OSError):  # it has gone, and says elsewhere why
            if self._process.stdin:
                self._process.stdin.write(f"{text}\n".encode())
                self._process.stdin.flush()

    @property
    def lives(self) -> bool:
        """Whether the lock is held for this run."""
        return self.state == "taken" and self._process.poll() is None

    def complaint(self, config: Path) -> str:
        """Why there was no answer."""
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace")
        if ssh.lacks_sudo(said):
            return f"who logs in there can't become root: {ssh.SUDO_REMEDY}"
        return ssh.out_of_reach(config, self.node) or ssh.last_words(said)

    def begin_to_end(self) -> None:
        """Give it back."""
        self._say("end")
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()

    def end(self) -> None:
        """Wait until it was given back."""
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:  # the node doesn't listen any more: there it stays
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()


class ClusterLock:
    """A lock that is held.

    Attributes:
        notes: whose lock was broken for it.
    """

    def __init__(self, holds: Sequence[_Hold], majority: int) -> None:
        self._holds = holds
        self._majority = majority
        self.notes = tuple(f"the lock of {who} was broken{how}" for who, how in _holders(holds, "taken"))

    def is_lost(self) -> bool:
        """Whether somebody has broken it, or too few control planes can be reached to know that nobody did."""
        return sum(hold.lives for hold in self._holds) < self._majority


@contextmanager
def locked(way: Way, *, break_lock: bool) -> Iterator[ClusterLock]:
    """Hold the lock of a cluster on each control plane that can be reached, and on more than half of them.

    Raises:
        RefusedError: somebody else holds it, or has left it.
        RemoteError: too few control planes can be reached.
    """
    majority = len(way.nodes) // 2 + 1
    with _asked(way, "break" if break_lock else "take") as holds:
        for line, remedy in _in_the_way(holds):
            raise RefusedError(line, remedy=remedy)
        if sum(hold.lives for hold in holds) < majority:
            silent = [hold for hold in holds if not hold.lives]
            details = [f"{hold.node}: Take the cluster's lock: {hold.complaint(way.config)}" for hold in silent]
            details += ClusterLock(holds, majority).notes  # whoever had it stops all the same
            raise RemoteError(details[0], remedy="mend that and apply again; nothing was changed", details=details)
        yield ClusterLock(holds, majority)


def look(way: Way) -> tuple[str, ...]:
    """What is to be told of the lock where nobody takes it. What can't be reached says so elsewhere."""
    with _asked(way, "look") as holds:
        return tuple(line for line, _ in _in_the_way(holds))


@contextmanager
def _asked(way: Way, mode: Mode) -> Iterator[list[_Hold]]:
    holds: list[_Hold] = []
    request = {"path": PATH, "mode": mode, "holder": _ourselves()}
    try:
        holds.extend(_Hold(way, node) for node in way.nodes)
        for hold in holds:
            hold.ask(request)
        for hold in holds:
            hold.listen()
        yield holds
    finally:
        for hold in holds:
            hold.begin_to_end()
        for hold in holds:
            hold.end()


def _in_the_way(holds: Sequence[_Hold]) -> Iterator[tuple[str, str]]:
    """Lines about whoever has the lock, each with a remedy."""
    for who, how in _holders(holds, "held"):
        remedy = "wait until it has ended; `apply --break-lock` takes the lock away from it, and it stops"
        yield f"{who} is at work on this cluster{how}", remedy
    for who, how in _holders(holds, "left"):
        remedy = "see with `plan` what it left undone, then go on with `apply --break-lock`"
        yield f"{who} was cut off and has left the cluster's lock{how}", remedy


def _holders(holds: Sequence[_Hold], state: str) -> Iterator[tuple[str, str]]:
    """Each holder once, and how it is known."""
    found: dict[tuple[str, str], list[str]] = {}
    for hold in holds:
        if hold.state == state and (hold.holder is not None or state == "held"):
            found.setdefault(_text(hold.holder), []).append(hold.node)
    for (who, what), nodes in found.items():
        yield who, f" ({what}; the lock lies on {', '.join(nodes)})"


def _text(holder: object) -> tuple[str, str]:
    told = holder if isinstance(holder, dict) else {}
    if not {"who", "process", "command", "since"} <= told.keys():
        return "somebody", "who doesn't say more"
    return str(told["who"]), f"process {told['process']}, `{told['command']}`, since {told['since']}"


def _ourselves() -> dict[str, Any]:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {
        "who": f"{getpass.getuser()}@{socket.gethostname()}",
        "process": os.getpid(),
        "command": command[:_LONGEST],
        "since": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
