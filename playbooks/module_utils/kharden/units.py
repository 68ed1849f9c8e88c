# SPDX-License-Identifier: Apache-2.0
"""systemd's units: what state they are in, and whether they stay in it."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"}
UNITS = "/etc/systemd/system"
_PAUSE = 0.2  # seconds between two looks
_MICROSECONDS = 1_000_000
_PROPERTIES = (
    *("LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload"),
    *("ActiveEnterTimestampMonotonic", "MainPID", "NRestarts", "RemainAfterExit", "ExecMainExitTimestampMonotonic"),
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as systemd sees it; `since` is when it became active, in microseconds since boot (0: never)."""

    name: str
    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    file: str = ""
    stale: bool = False
    since: int = 0
    pid: int = 0
    restarts: int = 0
    remains: bool = False
    ended: int = 0

    @property
    def runs(self) -> bool:
        """True if it is up, also for a moment between two states."""
        return self.active in ("active", "reloading", "refreshing")


def run(argv: Sequence[str], timeout: float) -> tuple[int, str]:
    """Run a program; its exit status and what it said.

    Raises:
        NodeError: it isn't there or takes longer than `timeout` seconds.
    """
    try:
        done = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            env=_ENVIRONMENT,
        )
    except FileNotFoundError:
        raise NodeError(f"{argv[0]}: isn't installed on this node: install it, or choose another node") from None
    except subprocess.TimeoutExpired:
        raise NodeError(f"{' '.join(argv)}: has not ended after {timeout:.0f} s: look at systemctl list-jobs") from None
    return done.returncode, done.stdout.decode(errors="replace")


def parse(names: Sequence[str], shown: str) -> dict[str, Unit]:
    """Read `systemctl show --property=… NAMES`: one block for each, in their order, divided by an empty line."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in shown.split("\n\n")]
    if len(blocks) != len(names):
        raise NodeError("systemctl show: didn't tell of every unit that was asked for: is this systemd 252 or later?")
    return {name: _unit(name, block) for name, block in zip(names, blocks, strict=True)}


def _unit(name: str, block: dict[str, str]) -> Unit:
    def number(key: str) -> int:
        return int(block[key]) if block.get(key, "").isdecimal() else 0

    return Unit(
        name=name,
        load=block.get("LoadState", ""),
        active=block.get("ActiveState", ""),
        sub=block.get("SubState", ""),
        file=block.get("UnitFileState", ""),
        stale=block.get("NeedDaemonReload") == "yes",
        since=number("ActiveEnterTimestampMonotonic"),
        pid=number("MainPID"),
        restarts=number("NRestarts"),
        remains=block.get("RemainAfterExit") == "yes",
        ended=number("ExecMainExitTimestampMonotonic"),
    )


def show(names: Iterable[str], timeout: float = 30) -> dict[str, Unit]:
    """The state of the units `names`, in one call."""
    listed = list(dict.fromkeys(names))
    if not listed:
        return {}
    status, said = run(["systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", *listed], timeout)
    if status:
        raise NodeError(f"systemctl show: {' '.join(said.split())}: is systemd running on this node?")
    return parse(listed, said.strip())


def systemctl(verb: str, *names: str, timeout: float) -> None:
    """Run `systemctl VERB NAMES`. What it said is told on failure; whether it worked is for `settle` to see.

    Raises:
        NodeError: it refused something other than a start, for instance to enable a masked unit.
    """
    status, said = run(["systemctl", "--no-ask-password", verb, *(["--", *names] if names else [])], timeout)
    if status and verb not in ("start", "restart"):
        raise NodeError(f"systemctl {verb} {' '.join(names)}: {' '.join(said.split())[:300]}")


def begin(verb: str, unit: Unit, timeout: float) -> None:
    """Have a unit `start` or `restart`, also one that has failed so often that systemd has given it up."""
    if unit.active == "failed":
        systemctl("reset-failed", unit.name, timeout=timeout)
    systemctl(verb, unit.name, timeout=timeout)


def stop(unit: Unit, timeout: float) -> None:
    """Stop a unit, also one whose file has gone, and let systemd forget whether it had failed before.

    Raises:
        NodeError: it doesn't end, or not well; with the end of its journal.
    """
    systemctl("stop", unit.name, timeout=timeout)
    state = show([unit.name])[unit.name].active
    if state == "failed":
        systemctl("reset-failed", unit.name, timeout=timeout)
    if state != "inactive" and (state, unit.active) != ("failed", "failed"):
        raise NodeError(f"{unit.name}: should have stopped and is {state}: {last_words(unit.name)}")


def links(name: str, folder: str = UNITS) -> list[str]:
    """The links that make systemd start a unit with others.

    `systemctl disable` refuses a unit whose file has gone, and leaves them.
    """
    found = (path for kind in ("wants", "requires", "upholds") for path in Path(folder).glob(f"*.{kind}/*"))
    return sorted(str(path) for path in found if path.name == name and path.is_symlink())


def settle(names: Sequence[str], seconds: float, timeout: float) -> dict[str, Unit]:
    """Wait until each unit has been up for `seconds` without systemd having restarted it, and return their states.

    A simple service counts as active from its fork on (systemd.service(5)); one with a broken configuration ends
    shortly after.

    Raises:
        NodeError: one failed, or isn't up in time; with the end of its journal.
    """
    deadline = time.monotonic() + timeout
    first = show(names)
    while True:
        now = show(names)
        for name, unit in now.items():
            ended = unit.active in ("failed", "inactive") or unit.restarts > first[name].restarts
            if ended or time.monotonic() > deadline:
                state = f"{unit.active}, {unit.sub}, restarted by systemd {unit.restarts} times"
                raise NodeError(f"{name}: should be active and doesn't stay so ({state}): {last_words(name)}")
        if all(_is_steady(unit, seconds) for unit in now.values()):
            return now
        time.sleep(_PAUSE)


def _is_steady(unit: Unit, seconds: float) -> bool:
    return (
        unit.runs and time.clock_gettime(time.CLOCK_MONOTONIC) * _MICROSECONDS - unit.since >= seconds * _MICROSECONDS
    )


def last_words(name: str, lines: int = 5) -> str:
    """The end of a unit's journal in one line, without what could control a terminal."""
    _, said = run(["journalctl", f"--unit={name}", f"--lines={lines}", "--no-pager", "--output=cat"], 30)
    kept = ["".join(c for c in line if c.isprintable()) for line in said.splitlines()[-lines:]]
    return " | ".join(filter(None, kept)) or "its journal is empty"
