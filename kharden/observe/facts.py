"""Facts as the nodes told them. A node may be broken or lie, so nothing about their form is taken for granted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_Kind = TypeVar("_Kind")


class Unobserved(Exception):  # noqa: N818  # it is no error: a fact that isn't there makes a verdict "unknown"
    """What was to be looked at could not be seen; the text says why."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every node's facts, collected once.

    Attributes:
        at: when, UTC.
        passive: nothing was written and no pod tried.
        nodes: node → the collector's document, or {"error": reason}.
        away: as of `kharden.observe.witnesses.Witnesses`.
        mute: the same.
    """

    at: datetime
    passive: bool
    nodes: Mapping[str, Mapping[str, Any]]
    away: Mapping[str, str] = field(default_factory=dict)
    mute: Mapping[str, str] = field(default_factory=dict)

    def facts(self, node: str) -> Facts:
        """What a node told."""
        return Facts(self.nodes.get(node, {"error": "it was not asked"}), node)


@dataclass(frozen=True, slots=True)
class Facts:
    """A value within a node's document; `where` names it."""

    value: Any
    where: str

    def at(self, *keys: str) -> Facts:
        """The value under these keys, one level each.

        Raises:
            Unobserved: it is not there, or the node could not see it.
        """
        found = self
        for key in keys:
            table = found.seen()
            if not isinstance(table, dict) or key not in table:
                raise Unobserved(f"{found.where}: nothing about {key}")
            found = Facts(table[key], f"{self.where}: {key}")
        found.seen()
        return found

    def seen(self) -> Any:  # noqa: ANN401  # whatever JSON holds
        """The value.

        Raises:
            Unobserved: the node says that it could not see it.
        """
        if isinstance(self.value, dict) and "error" in self.value:
            raise Unobserved(f"{self.where}: {self.value['error']}")
        return self.value

    def table(self) -> dict[str, Facts]:
        """An object's members."""
        return {str(key): Facts(value, f"{self.where}: {key}") for key, value in self._of(dict).items()}

    def entries(self) -> list[Facts]:
        """A list's members."""
        return [Facts(value, self.where) for value in self._of(list)]

    def texts(self) -> list[str]:
        """A list of texts."""
        return [entry.text() for entry in self.entries()]

    def text(self) -> str:
        """A text."""
        return self._of(str)

    def number(self) -> int:
        """A whole number."""
        return self._of(int)

    def flag(self) -> bool:
        """True or false."""
        return self._of(bool)

    def _of(self, kind: type[_Kind]) -> _Kind:
        value = self.seen()
        if not isinstance(value, kind):
            raise Unobserved(f"{self.where}: a {type(value).__name__} where a {kind.__name__} is expected")
        return value
