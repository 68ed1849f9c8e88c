"""Command lines of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.observe.examine.view import resolve
from kharden.observe.facts import Unobserved
from kharden.observe.host import COMM_LENGTH
from kharden.observe.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import (
        ArgumentAbsent,
        ArgumentAtLeast,
        ArgumentContains,
        ArgumentEquals,
        ArgumentLacks,
        ArgumentWithin,
        ProcessOwner,
    )
    from kharden.observe.examine.view import View
    from kharden.observe.host import Process

_UNSET = "not set"


def equals(check: ArgumentEquals, view: View) -> Iterator[Finding]:
    """Set once, to this."""
    for values in given(check.program, check.name, view):
        yield Finding(f"{check.program} --{check.name}={check.value}", _said(values), values == [check.value])


def absent(check: ArgumentAbsent, view: View) -> Iterator[Finding]:
    """None of these is set."""
    for name in check.names:
        for values in given(check.program, name, view):
            yield Finding(f"{check.program} without --{name}", _said(values), not values)


def contains(check: ArgumentContains, view: View) -> Iterator[Finding]:
    """A list has all of these."""
    planned = str(resolve(check.planned, view)).split(",") if check.planned else []
    items = tuple(dict.fromkeys((*check.items, *planned)))
    expected = f"{check.program} --{check.name} with {', '.join(items)}"
    for values in given(check.program, check.name, view):
        yield Finding(expected, _said(values), len(values) == 1 and set(items) <= set(_items(values)))


def lacks(check: ArgumentLacks, view: View) -> Iterator[Finding]:
    """A list has none of these, or isn't given."""
    expected = f"{check.program} --{check.name} without {', '.join(item or 'an empty value' for item in check.items)}"
    for values in given(check.program, check.name, view):
        yield Finding(expected, _said(values), not set(check.items) & set(_items(values)))


def within(check: ArgumentWithin, view: View) -> Iterator[Finding]:
    """A list has nothing else."""
    expected = f"{check.program} --{check.name} with nothing but {', '.join(check.items)}"
    for values in given(check.program, check.name, view):
        items = set(_items(values))
        yield Finding(expected, _said(values), len(values) == 1 and items <= set(check.items))


def at_least(check: ArgumentAtLeast, view: View) -> Iterator[Finding]:
    """A number is large enough."""
    least = max(check.least, int(resolve(check.planned, view)))
    for values in given(check.program, check.name, view):
        enough = len(values) == 1 and values[0].isdecimal() and int(values[0]) >= least
        yield Finding(f"{check.program} --{check.name} of at least {least}", _said(values), enough)


def owner(check: ProcessOwner, view: View) -> Iterator[Finding]:
    """It runs as this user."""
    for process in _processes(check.program, view):
        yield Finding(f"{check.program} as {check.user}", f"as {process.user}", process.user == check.user)


def flags(command_line: str) -> dict[str, list[str]]:
    """Flags of a command line, each with its values in their order.

    Kubernetes' programs take _ for - in names (k8s.io/component-base cli/flag WordSepNormalizeFunc), Go's own flag
    package, which etcd uses, takes one dash for two; a flag without a value is a true.
    """
    found: dict[str, list[str]] = {}
    words = command_line.split()[1:]
    for index, word in enumerate(words):
        if word.startswith("-"):
            name, given, value = word.lstrip("-").partition("=")
            following = words[index + 1] if index + 1 < len(words) else "-"
            if not given:
                value = "true" if following.startswith("-") else following
            found.setdefault(name.replace("_", "-"), []).append(value)
    return found


def given(program: str, name: str, view: View) -> Iterator[list[str]]:
    """For each process of a program the values of one of its flags."""
    for process in _processes(program, view):
        yield flags(process.args).get(name, [])


def _processes(program: str, view: View) -> list[Process]:
    found = list(view.host.process.filter(comm=program[:COMM_LENGTH]))
    if not found:
        raise Unobserved(f"{view.node.name}: {program} does not run")
    return found


def _items(values: list[str]) -> list[str]:
    return [item for value in values for item in value.split(",")]


def _said(values: list[str]) -> str:
    return " and ".join(f"={value}" for value in values) or _UNSET
