"""What is wrong with a cluster.yaml, and where."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from kharden.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

# Where a value is in the tree: keys as cluster.yaml writes them, indices of lists.
KeyPath = tuple[str | int, ...]

# More lines than this on a terminal help nobody; `SpecError.problems` has them all.
_SHOWN = 100
# A key that isn't such a word may be anything, a secret in the wrong place too.
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


class Place(NamedTuple):
    """A place in the text, both counted from 1; the column in characters."""

    line: int
    column: int


def end(text: str) -> Place:
    """Where `text` ends: the place of the character that would follow."""
    return Place(text.count("\n") + 1, len(text) - text.rfind("\n"))


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a path. `place` is given where the path alone doesn't lead there."""

    path: KeyPath
    message: str
    remedy: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at a place of a file.

    Attributes:
        file: as the file was named to us.
        line: from 1.
        column: from 1, in characters.
        path: for example `spec.nodes[0].address`; empty for what concerns the whole file.
        message: what is wrong, without any value of the file.
        remedy: what to do, in the imperative.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        return where + (f"{self.path}: " if self.path else "") + f"{self.message}: {self.remedy}"


class SpecError(InputError):
    """A cluster.yaml can't be used. `problems` has everything that is wrong with it, in the order of its lines."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        count = len(problems)
        details = [str(problem) for problem in problems[:_SHOWN]]
        if count > _SHOWN:
            details.append(f"{file}: and {count - _SHOWN} more, once these are mended")
        super().__init__(f"{file}: {count} problem{'' if count == 1 else 's'}", details=details)
        self.problems = tuple(problems)

    def as_document(self) -> dict[str, Any]:
        """With every problem."""
        return super().as_document() | {"problems": [asdict(problem) for problem in self.problems]}


def dotted(path: KeyPath) -> str:
    """`path` as people write it; a key that isn't a plain word is shown as `?`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _WORD.fullmatch(step) else "?")
    return text


def duplicates(values: Iterable[tuple[KeyPath, Hashable]], remedy: str) -> Iterator[Finding]:
    """A finding for each value that was there before."""
    first: dict[Hashable, KeyPath] = {}
    for path, value in values:
        if value in first:
            yield Finding(path, f"this is the same as {dotted(first[value])}", remedy)
        else:
            first[value] = path
