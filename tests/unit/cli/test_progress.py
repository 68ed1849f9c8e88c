"""How long work is shown: lines that a log can hold, and on a terminal a table below them."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from kharden.progress import Reporter


def reporter(*, terminal: bool = False) -> tuple[Reporter, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=60, soft_wrap=True, markup=False)
    return Reporter(console), stream


def lines(stream: io.StringIO) -> list[str]:
    """What was printed, less the clock that every line begins with."""
    found = stream.getvalue().splitlines()
    assert all(re.match(r" *\d+\.\d s ", line) for line in found), found
    return [re.sub(r"^ *\d+\.\d s ", "", line) for line in found]


def test_phases_and_what_changed_or_failed_have_a_line_each() -> None:
    one, stream = reporter()
    with one:
        one.phase("Host")
        one.task("cp1", "Look", "ok")
        one.task("cp1", "Leave out", "skipped")
        one.task("cp1", "Place all files", "changed")
        one.task("w1", "Place all files", "failed")
        one.task("w2", "Reach", "unreachable")
        one.phase("Health")
    assert lines(stream) == [
        "Host",
        "  cp1: Place all files: changed",
        "  w1: Place all files: failed",
        "  w2: Reach: unreachable",
        "Health",
    ]
    assert list(one.seconds) == ["Host", "Health"]
    assert all(seconds >= 0 for seconds in one.seconds.values())


def test_what_was_there_already_has_no_line() -> None:
    one, stream = reporter()
    with one:
        for item, cached in (("etcd 3.6.16", True), ("kubelet 1.36.3", False)):
            one.start(item)
            one.done(item, 61.25, cached)
    assert lines(stream) == ["  kubelet 1.36.3: 61.2 s"]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_told_is_shown_as_it_is(terminal: bool) -> None:  # noqa: FBT001  # pytest's parameter
    text = "a note with [red]brackets[/blue], " + "longer than any line of this console is wide, " * 3
    one, stream = reporter(terminal=terminal)
    with one:
        one.phase("[/]")
        one.note(text)
        one.task("[bold]", text, "failed")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "")
    assert f"  {text.rstrip()}" in shown
    assert f"  [bold]: {text}: failed" in shown
    assert " [/]\n" in shown


def test_a_terminal_shows_every_node_and_is_left_clean() -> None:
    one, stream = reporter(terminal=True)
    with one:
        one.phase("Host")
        one.task("cp1", "Place all files", "changed")
        one.task("w1", "Look", "ok")
        before = stream.tell()
        with one.paused():
            one.note("Go on?")
        assert "Go on?" in stream.getvalue()[before:]
    # The cursor, which a live table hides, is shown again.
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")


def test_an_error_ends_what_is_drawn() -> None:
    one, stream = reporter(terminal=True)

    def run() -> None:
        with one:
            one.phase("Host")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")
    assert list(one.seconds) == ["Host"]
