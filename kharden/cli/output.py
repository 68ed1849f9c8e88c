"""What a person reads, or a script: lines, or one JSON document; and the questions that are asked."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from kharden.progress import Reporter


def visible(text: str) -> str:
    """Text that may be a node's own: what a terminal would take for a command is written out (CWE-150)."""
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)


def console(*, stderr: bool = False) -> Console:
    """Lines as they are: not wrapped at any width, and brackets in paths and names are no markup."""
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True, markup=False)


@contextmanager
def reporting(*, as_json: bool) -> Iterator[Reporter]:
    """Progress, on standard error where standard output is a script's."""
    from kharden.progress import Reporter

    with Reporter(console(stderr=as_json)) as reporter:
        yield reporter


def print_json(value: object) -> None:
    """The one document of a task."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    if any("\ud800" <= one <= "\udfff" for one in text):  # of an argument or a path that is no text
        text = json.dumps(value, indent=1)
    sys.stdout.write(text + "\n")


def asking(*, yes: bool, reporter: Reporter) -> Callable[[Sequence[str]], bool]:
    """Shows what would be changed and asks a person, if there is one."""

    def ask(changes: Sequence[str]) -> bool:
        reporter.note("This would be changed:")
        for change in changes:
            reporter.note(f"  {change}")
        if yes:
            return True
        if not sys.stdin.isatty():
            return False
        with reporter.paused():
            # Not by input() itself, which would ask on standard output: that may be a script's.
            sys.stderr.write("Go on? [y/N] ")
            sys.stderr.flush()
            try:
                answer = input()
            except EOFError:  # Ctrl-D: nobody agreed, and what comes next begins on a line of its own
                sys.stderr.write("\n")
                return False
            return answer.strip().lower() in {"y", "yes"}

    return ask
