"""An observation: what was expected of a node, what was seen there, and whether it is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

# Who saw it: the collector on the node itself, the API server, a connection from some place, testinfra on the node, or
# nobody, because the plan already says that there is nothing to see.
Source = Literal["collector", "api", "probe", "live", "plan"]

TEXT_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found; `ok` is None where nothing could be seen.

    Attributes:
        left_out: nothing was looked at, because that was asked for.
        chosen: what is not right was chosen in cluster.yaml with open eyes, and `ok` is None: a person has to judge it.
    """

    expected: str
    observed: str
    ok: bool | None
    left_out: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """A finding about a control and a node.

    Attributes:
        at: when the facts were collected, UTC.
        left_out: not looked at because that was asked for (a passive run); such an observation has `ok` None.
        chosen: as of `Finding`.
    """

    control: str
    node: str
    source: Source
    expected: str
    observed: str
    at: datetime
    ok: bool | None
    left_out: bool = False
    chosen: bool = False


def clean(text: str) -> str:
    """A node's own words, made fit for a report: one line of printable characters, cut to a bearable length."""
    line = "".join(character if character.isprintable() else "?" for character in text)
    return line if len(line) <= TEXT_LIMIT else f"{line[: TEXT_LIMIT - 1]}…"
