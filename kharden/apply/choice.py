"""What of a run was chosen: which nodes, which phases, how many workers at a time, and how many of them may fail."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import yaml

from kharden.errors import InputError
from kharden.resources import folder

if TYPE_CHECKING:
    from collections.abc import Sequence

_WAVE = re.compile(r"(?P<number>[1-9][0-9]{0,5})(?P<percent>%?)")
_COUNT = re.compile(r"[0-9]{1,6}")
_ALL = 100  # per cent
_ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Wave:
    """How many workers at a time: a number, or a part of those that are chosen."""

    number: int
    percent: bool = False

    def size(self, workers: int) -> int:
        """How many of `workers` that is; at least one."""
        return max(1, -(-workers * self.number // _ALL)) if self.percent else self.number


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen; as it is by default everything, with one worker before the others.

    Attributes:
        limit: the nodes that may be changed, in the plan's order; empty: all.
        phases: those of playbooks/site.yml that run, in its order; empty: all.
        wave: how many workers at a time.
        max_fail: how many workers may fail until the run stops.
    """

    limit: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()
    wave: Wave | None = None
    max_fail: int = 0

    @property
    def in_waves(self) -> bool:
        """Whether workers go through everything apart from control planes, some after the others."""
        return self.wave is not None or self.max_fail > 0


def phases() -> tuple[str, ...]:
    """The names by which phases are chosen, as playbooks/site.yml has them."""
    plays: list[dict[str, Any]] = yaml.safe_load((folder("playbooks") / "site.yml").read_text(encoding="utf-8"))
    return tuple(tag for play in plays for tag in play["tags"] if tag != _ALWAYS)


def chosen(
    nodes: Sequence[str], *, limit: str | None, tags: str | None, wave: str | None, max_fail: str | None
) -> Choice:
    """What a person's words mean for a cluster of these nodes.

    Raises:
        InputError: one of them means nothing; nothing was touched.
    """
    return Choice(
        limit=_listed("--limit", limit, nodes, "node of this cluster"),
        phases=_listed("--tags", tags, phases(), "phase"),
        wave=_wave(wave),
        max_fail=_count(max_fail),
    )


def _listed(option: str, text: str | None, known: Sequence[str], what: str) -> tuple[str, ...]:
    if text is None:
        return ()
    names = {name.strip() for name in text.split(",")}
    if "" in names:
        raise InputError(f"{option} {text[:60]!a}: names nothing", remedy="write names with commas between them")
    for name in sorted(names):
        if name not in known:
            nearest = get_close_matches(name, known, n=1)
            remedy = f"write {nearest[0]}" if nearest else f"there are {', '.join(known)}"
            raise InputError(f"{option}: {name[:60]!a} is no {what}", remedy=remedy)
    return tuple(name for name in known if name in names)


def _wave(text: str | None) -> Wave | None:
    if text is None:
        return None
    found = _WAVE.fullmatch(text.strip())
    if found is None or (found["percent"] and int(found["number"]) > _ALL):
        raise InputError(f"--wave {text[:60]!a}: is no number of workers", remedy="write 3, or 20% of them")
    return Wave(int(found["number"]), bool(found["percent"]))


def _count(text: str | None) -> int:
    if text is None:
        return 0
    if not _COUNT.fullmatch(text.strip()):
        raise InputError(f"--max-fail {text[:60]!a}: is no number of workers", remedy="write 0, 1, 2 …")
    return int(text)
