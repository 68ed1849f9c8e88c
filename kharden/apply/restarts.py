"""What restarts, where, in which order, and how long the API of that node is away meanwhile."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Without these an API server doesn't answer; etcd's member is the only one that it asks. The seconds are for a node on
# which nobody has seen it yet: one that ends lets requests that run go on for up to a minute.
_DEFAULT_AWAY = {"static-pod/kube-apiserver": 60.0, "static-pod/etcd": 10.0}
_SEEN = "as it took there before"
_ASSUMED = "assumed: nobody has seen it there yet"
_MEASURED = "measured"
_UNMEASURED = "not measured, since what restarted it failed"


@dataclass(frozen=True, slots=True)
class Restart:
    """One restart: those of the same order happen side by side.

    Attributes:
        order: its place, from 1.
        node: where.
        what: a unit, or static-pod/NAME.
        api_away_seconds: how long the API server of that node doesn't answer for it; 0 where it goes on.
        reason: where that figure comes from.
    """

    order: int
    node: str
    what: str
    api_away_seconds: float = 0.0
    reason: str = ""

    def as_document(self) -> dict[str, Any]:
        """As --json has it."""
        return asdict(self)


@dataclass(slots=True)
class Restarts:
    """What tasks told, as they ended: Ansible takes all nodes of a batch through one task after the other."""

    check: bool = False
    _told: list[tuple[tuple[int, int], str, int, Mapping[str, Any]]] = field(default_factory=list)
    _tasks: list[object] = field(default_factory=list)

    def note(self, task: object, node: str, restarting: Iterable[Mapping[str, Any]]) -> None:
        """A task ended on a node; `task` names it and its batch."""
        if task not in self._tasks:
            self._tasks.append(task)
        place = self._tasks.index(task)
        counted: dict[int, int] = {}
        for item in restarting:
            turn = int(item.get("turn", 0))
            counted[turn] = counted.get(turn, 0) + 1
            self._told.append(((place, turn), node, counted[turn], item))

    def ordered(self) -> list[Restart]:
        """All of them, in their order."""
        result: list[Restart] = []
        before = 0
        for _, group in groupby(sorted(self._told, key=itemgetter(0, 2, 1)), key=itemgetter(0)):
            listed = list(group)
            result += [self._restart(before + step, node, item) for _, node, step, item in listed]
            before += max(step for _, _, step, _ in listed)
        return result

    def _restart(self, order: int, node: str, item: Mapping[str, Any]) -> Restart:
        what, away = str(item["name"]), item.get("away")
        if what not in _DEFAULT_AWAY:
            return Restart(order, node, what)
        if away is None and not self.check:
            return Restart(order, node, what, reason=_UNMEASURED)
        if away is None:
            return Restart(order, node, what, _DEFAULT_AWAY[what], _ASSUMED)
        return Restart(order, node, what, float(away), _SEEN if self.check else _MEASURED)


def lines(restarts: Iterable[Restart]) -> list[str]:
    """For a person: a line for each place in the order, and how long each API is away in all."""
    listed = list(restarts)
    result = []
    for order, group in groupby(listed, key=lambda one: one.order):
        result += [f"{order:3}. {_text(one)}" for one in group]
    away: dict[str, float] = {}
    for one in listed:
        away[one.node] = away.get(one.node, 0.0) + one.api_away_seconds
    return result + [
        f"     The API of {node} is away for about {sum_:.0f} s in all" for node, sum_ in away.items() if sum_
    ]


def _text(one: Restart) -> str:
    away = f" (its API is away for about {one.api_away_seconds:.0f} s; {one.reason})" if one.api_away_seconds else ""
    return f"{one.node}: {one.what}{away}"
