# SPDX-License-Identifier: Apache-2.0
"""How a machine of etcd's own becomes a member: with all the others at once, or one that others let in."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from . import files, quorum, restarts, units
from .errors import NodeError
from .etcd import UNIT, Etcd, has_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .etcd import Member

FIRST_START = "/run/kharden/etcd.env"  # the unit reads it
MARKER = "/var/lib/kharden/joined"
_STEADY = 2.0  # seconds that the service must stay up


@dataclass(frozen=True, slots=True)
class Membership:
    """This machine among those of the plan.

    Attributes:
        token: of this cluster alone, so that members of two never take each other for their own.
        actions: where it notes what it does.
    """

    gate: quorum.Quorum
    token: str
    timeout: float
    data: Path
    pending: str
    actions: list[dict[str, str]] = field(default_factory=list)

    def begin(self) -> None:
        """Start a new store together with all others of the plan, who are told the same.

        Raises:
            NodeError: there is no majority in time.
        """
        self._start("new", [(one.name, one.peer) for one in self.gate.peers])

    def finish(self) -> bool:
        """Whether it is a well member already, and only an earlier run was cut off before it said so."""
        if not has_data(self.data):
            return False
        try:
            self._require_well()
        except NodeError:
            return False
        self._remember()
        return True

    def stale(self) -> Member | None:
        """Wait until the others may be joined by this machine; the member that has to go before, if there is one.

        Raises:
            NodeError: they may not when the time is over; nothing was changed.
        """
        running = units.show([UNIT])[UNIT].runs
        return self.gate.before_join(quorum.Local(has_data(self.data), running))

    def join(self, stale: Member | None) -> None:
        """Become a member of a store that lives, or finish what an earlier run began.

        Raises:
            NodeError: the others refuse, or it doesn't become well in time.
        """
        others = Etcd([one.client for one in self.gate.others])
        if stale:
            others.remove(stale)
            self.actions.append({"action": "remove", "name": f"etcd member {stale}"})
        if self._own(others.members()) is None:
            quorum.until(lambda: others.add(self.gate.own.name, self.gate.own.peer), self.timeout)
        known = [(one.name, one.peer) for one in others.members() if one.peer != self.gate.own.peer]
        self._start("existing", [*known, (self.gate.own.name, self.gate.own.peer)], others)

    def _start(self, state: str, known: Sequence[tuple[str, str]], others: Etcd | None = None) -> None:
        written = {
            "ETCD_INITIAL_CLUSTER": ",".join(f"{name}={peer}" for name, peer in known),
            "ETCD_INITIAL_CLUSTER_STATE": state,
            "ETCD_INITIAL_CLUSTER_TOKEN": self.token,
        }
        self.actions.append({"action": "start", "name": UNIT})
        Path(FIRST_START).parent.mkdir(mode=0o700, exist_ok=True)
        _write(FIRST_START, "".join(f"{name}={value}\n" for name, value in written.items()))
        units.systemctl("daemon-reload", timeout=self.timeout)
        units.systemctl("enable", UNIT, timeout=self.timeout)
        if units.show([UNIT])[UNIT].active == "failed":  # a unit that has failed too often doesn't start otherwise
            units.systemctl("reset-failed", UNIT, timeout=self.timeout)
        # Where a join was cut off it may be waiting with an older list.
        units.systemctl("restart" if others else "start", UNIT, timeout=self.timeout)
        units.settle([UNIT], _STEADY, self.timeout)
        if others:
            quorum.until(lambda: self._vote(others), self.timeout)
        quorum.until(self._require_well, self.timeout)
        restarts.strike(self.pending, [UNIT])
        self._remember()

    def _remember(self) -> None:
        _write(MARKER, "")
        with suppress(FileNotFoundError):
            Path(FIRST_START).unlink()

    def _vote(self, others: Etcd) -> None:
        own = self._own(others.members())
        if own and own.learner:
            others.promote(own)

    def _require_well(self) -> None:
        own = Etcd([self.gate.own.client])
        mine = self._own(own.members())
        if mine is None or mine.learner or not own.healthy([mine]):
            raise NodeError(f"{UNIT}: runs, and its member isn't well: look at its journal")

    def _own(self, members: Sequence[Member]) -> Member | None:
        return next((one for one in members if one.peer == self.gate.own.peer), None)


def _write(path: str, text: str) -> None:
    content = text.encode()
    files.prepare(path, io.BytesIO(content), files.own(0o600), sha256=sha256(content).hexdigest())
    files.commit(path)
