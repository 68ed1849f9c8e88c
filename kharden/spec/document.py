"""What was read of a cluster.yaml: plain data, and where in the text each part of it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kharden.spec.problems import Finding, KeyPath, Place

if TYPE_CHECKING:
    from collections.abc import Mapping


class Refused:
    """Stands for a value that is refused already: the model's opinion of it isn't asked."""


REFUSED = Refused()


@dataclass(frozen=True, slots=True)
class Document:
    """What was read.

    Attributes:
        data: dicts, tuples, str, int, bool and `Refused`; `Refused` alone where nothing could be read.
        values: where each value begins.
        keys: where each key of a mapping is.
        incomplete: mappings of which a key was refused, so that what they lack can't be said.
        findings: what is wrong with the text as such.
    """

    data: object
    values: Mapping[KeyPath, Place]
    keys: Mapping[KeyPath, Place]
    incomplete: frozenset[KeyPath]
    findings: tuple[Finding, ...]

    def place(self, path: KeyPath) -> Place:
        """Where the value at `path` is, or the nearest thing around it that is there: a section is where its key is."""
        if path in self.values and not isinstance(self.at(path), dict | tuple):
            return self.values[path]
        while path:
            if path in self.keys or path in self.values:
                return self.keys.get(path) or self.values[path]
            path = path[:-1]
        return Place(1, 1)

    def at(self, path: KeyPath) -> object:
        """The data at `path`; None where there is none, since no data is None."""
        data = self.data
        for step in path:
            if not isinstance(data, dict | tuple):
                return None
            try:
                data = data[step]  # type: ignore[index]  # a wrong kind of step is a TypeError
            except (LookupError, TypeError):
                return None
        return data


def unread(finding: Finding) -> Document:
    """The document of a text that isn't worth reading."""
    return Document(REFUSED, {}, {}, frozenset(), (finding,))
