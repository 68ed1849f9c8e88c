"""Text → plain data, by a small and unsurprising part of YAML, with the place of every key and value.

Of YAML 1.1, which PyYAML reads, nothing retypes a value behind one's back: only `true`, `false`, plain decimal numbers
and `null` are more than text. Anchors, aliases, tags and merge keys are refused altogether: cluster.yaml needs none,
and they are what makes YAML bombs and surprises. Events are read one by one and counted, so that a hostile file stops
early and nothing recurses deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import yaml

from kharden.spec.document import REFUSED, Document, Refused
from kharden.spec.problems import Finding, KeyPath, Place, end
from kharden.spec.syntax import explained

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_DEPTH = 20
# A cluster of the model's 5,000 nodes, each with its ssh section, has about 65,000 keys and values.
MAX_NODES = 100_000

# libyaml where PyYAML was built with it; the same events in Python where not.
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# JSON's numbers without fraction and exponent. Of a longer one than this the beginning is far beyond every limit of
# the model already, and int() refuses very long ones (CVE-2020-10735).
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")
_DIGITS = 100
# PyYAML in Python lets "\ud800" through, which nothing can write down again; libyaml refuses it.
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


def read(text: str) -> Document:
    """Read `text`, whatever it is: what can't be used is in the findings."""
    reader = _Reader(yaml.parse(text, Loader=LOADER), end(text))
    data: object = REFUSED
    try:
        data = reader.document()
    except _StopError as stop:
        reader.findings.append(stop.finding)
    except yaml.YAMLError as error:
        reader.findings.append(explained(error, text))
    except (ValueError, OverflowError):
        # PyYAML in Python, on escapes and directives with numbers out of range; libyaml has errors of its own.
        message = "a number in an escape or a directive is out of range"
        reader.findings.append(Finding((), message, "write the character itself", Place(1, 1)))
    return Document(data, reader.values, reader.keys, frozenset(reader.incomplete), tuple(reader.findings))


class _StopError(Exception):
    """Reading further makes no sense."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


class _Reader:
    """Makes data of events, one by one."""

    def __init__(self, events: Iterator[yaml.Event], last: Place) -> None:
        self._events = events
        self._last = last
        self._depth = 0
        self._count = 0
        self.values: dict[KeyPath, Place] = {}
        self.keys: dict[KeyPath, Place] = {}
        self.incomplete: set[KeyPath] = set()
        self.findings: list[Finding] = []

    def document(self) -> object:
        self._next()  # the stream's start
        start = self._next()
        if not isinstance(start, yaml.DocumentStartEvent):
            raise _StopError(Finding((), "there is nothing in this file", "write the cluster down", Place(1, 1)))
        data = self._value(self._next(), ())
        self._next()  # the document's end
        after = self._next()
        if isinstance(after, yaml.DocumentStartEvent):
            remedy = "keep one cluster in each file"
            self.findings.append(Finding((), "a second document begins here", remedy, self._place(after)))
        return data

    def _next(self) -> yaml.Event:
        event = next(self._events)
        if isinstance(event, yaml.CollectionStartEvent):
            self._depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            self._depth -= 1
        if isinstance(event, yaml.NodeEvent):
            self._count += 1
        if isinstance(event, yaml.ScalarEvent) and _SURROGATE.search(event.value):
            message = "an escape in this text stands for half a character"
            raise _StopError(Finding((), message, "write the character itself", self._place(event)))
        if self._depth > MAX_DEPTH:
            message = f"values are nested more than {MAX_DEPTH} deep"
            raise _StopError(
                Finding((), message, "look for brackets and braces that aren't closed", self._place(event))
            )
        if self._count > MAX_NODES:
            message = f"there are more than {MAX_NODES} keys and values"
            raise _StopError(Finding((), message, "describe fewer nodes in one file", self._place(event)))
        return event

    def _place(self, event: yaml.Event) -> Place:
        # libyaml says that a text without a last line end goes on in one more line.
        mark = event.start_mark
        return min(Place(mark.line + 1, mark.column + 1), self._last) if mark else self._last

    def _skip(self, event: yaml.Event) -> None:
        """Read to the end of what begins with `event`."""
        if isinstance(event, yaml.CollectionStartEvent):
            outside = self._depth - 1
            while self._depth > outside:
                self._next()

    def _refuse(self, event: yaml.Event, path: KeyPath, message: str, remedy: str) -> Refused:
        self.findings.append(Finding(path, message, remedy, self._place(event)))
        return REFUSED

    def _refused_feature(self, event: yaml.Event, path: KeyPath) -> Refused | None:
        if isinstance(event, yaml.AliasEvent):
            remedy = "write the value itself, or quote a text that begins with *"
            return self._refuse(event, path, "aliases (*) are refused", remedy)
        if not isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            return None
        if event.tag is not None:
            remedy = "remove it, or quote a text that begins with !"
            return self._refuse(event, path, "tags (!) are refused", remedy)
        if event.anchor is not None:
            self._refuse(event, path, "anchors (&) are refused", "remove it, or quote a text that begins with &")
        return None

    def _value(self, event: yaml.Event, path: KeyPath) -> object:
        self.values[path] = self._place(event)
        refused = self._refused_feature(event, path)
        if refused:
            self._skip(event)
            return refused
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        return self._sequence(path)

    def _sequence(self, path: KeyPath) -> tuple[object, ...]:
        items: list[object] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return tuple(items)

    def _mapping(self, path: KeyPath) -> dict[str, object]:
        entries: dict[str, object] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, path)
            if isinstance(key, Refused):
                self.incomplete.add(path)
                self._skip(self._next())
            elif key in entries:
                first = self.keys[*path, key]
                message = f"this key is here twice, first in line {first.line}, column {first.column}"
                self._refuse(event, (*path, key), message, "keep one of them")
                self._skip(self._next())
            else:
                self.keys[*path, key] = self._place(event)
                entries[key] = self._value(self._next(), (*path, key))
        return entries

    def _key(self, event: yaml.Event, path: KeyPath) -> str | Refused:
        refused = self._refused_feature(event, path)
        if refused:
            self._skip(event)
            return refused
        if not isinstance(event, yaml.ScalarEvent):
            self._skip(event)
            remedy = "quote a text that begins with a bracket or a brace"
            return self._refuse(event, path, "a key is a word, not a list or a section", remedy)
        if event.implicit[0] and event.value == "<<":
            return self._refuse(event, path, "merge keys (<<) are refused", "write the keys themselves")
        key = _resolved(event)
        if not isinstance(key, str):
            return self._refuse(
                event, path, "a key is a word, not a number, true, false or null", "look at its spelling"
            )
        return key

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> object:
        value = _resolved(event)
        if value is None:
            remedy = "write a value, {} for a section of defaults, or leave out a key that has a default"
            return self._refuse(event, path, "nothing is written here", remedy)
        return value


def _resolved(event: yaml.ScalarEvent) -> str | int | bool | None:
    text = str(event.value)
    if not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    return int(text[:_DIGITS]) if _NUMBER.fullmatch(text) else text
