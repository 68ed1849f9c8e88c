"""Finds in YAML, whatever text it is, what kubectl, Ansible and a person don't read alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from kharden.spec.problems import Finding, Place, end
from kharden.spec.reader import LOADER

if TYPE_CHECKING:
    from collections.abc import Iterator

# Definitions of resources nest some fifty deep. PyYAML's way through what is too deep ends the process.
_DEPTH = 200

_TAG = "tag:yaml.org,2002:"
# `=` and dates, and numbers to the base of 60: a text for kubectl, something else or an error for PyYAML.
_RETYPED = (f"{_TAG}value", f"{_TAG}timestamp")
_NUMBERS = (f"{_TAG}int", f"{_TAG}float")


@dataclass(slots=True)
class _Open:
    """A list, or a section with the keys that were met in it."""

    section: bool
    at_key: bool = True
    keys: dict[str, Place] = field(default_factory=dict)


def doubtful(text: str) -> Iterator[Finding]:
    """What isn't read alike by everybody, in the order of its lines.

    Raises:
        yaml.YAMLError, ValueError, OverflowError: it is no YAML.
    """
    opened: list[_Open] = []
    resolver, last = LOADER(""), end(text)
    for event in yaml.parse(text, Loader=LOADER):
        mark = event.start_mark
        place = min(Place(mark.line + 1, mark.column + 1), last) if mark else last
        if isinstance(event, yaml.CollectionEndEvent):
            opened.pop()
            continue
        doubts = [_structure(event), _scalar(event, resolver)]
        if isinstance(event, yaml.NodeEvent) and opened and opened[-1].section:
            doubts.append(_key(opened[-1], event, place))
        yield from (Finding((), *words, place) for words in doubts if words)
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(_Open(isinstance(event, yaml.MappingStartEvent)))
        if len(opened) > _DEPTH:
            remedy = "look for brackets and braces that aren't closed"
            yield Finding((), f"values are nested more than {_DEPTH} deep", remedy, place)
            return


def _structure(event: yaml.Event) -> tuple[str, str] | None:
    if isinstance(event, yaml.DocumentStartEvent) and (event.version or event.tags):
        return "directives (%) are refused", "remove the line"
    if isinstance(event, yaml.AliasEvent):
        return "aliases (*) are refused", "write the value itself, or quote a text that begins with *"
    if getattr(event, "tag", None) is not None:
        return "tags (!) are refused", "remove it, or quote a text that begins with !"
    return None


def _scalar(event: yaml.Event, resolver: Any) -> tuple[str, str] | None:  # noqa: ANN401  # PyYAML's has no types
    if not isinstance(event, yaml.ScalarEvent) or event.tag is not None or not event.implicit[0]:
        return None
    tag = resolver.resolve(yaml.ScalarNode, event.value, (True, False))
    if tag in _RETYPED or (tag in _NUMBERS and ":" in event.value):
        return "not every program reads this as the text that it seems to be", "quote it"
    return None


def _key(section: _Open, event: yaml.NodeEvent, place: Place) -> tuple[str, str] | None:
    """What is wrong with an event in a section, where it is a key."""
    section.at_key = not section.at_key
    if section.at_key:  # so this was a value
        return None
    if not isinstance(event, yaml.ScalarEvent):
        return "a key is a word, not a list, a section or an alias", "quote a text that begins with a bracket or *"
    if event.value == "<<" and event.implicit[0]:
        return "merge keys (<<) are refused", "write the keys themselves"
    first = section.keys.setdefault(event.value, place)
    if first is place:
        return None
    return f"this key is here twice, first in line {first.line}, column {first.column}", "keep one of them"
