"""How long work is shown: a live line for each node on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rich.console import Console

# Seconds after which a reader wants to know what is going on.
_PATIENCE = 5.0
_STYLE = {"changed": "yellow", "failed": "red", "unreachable": "red"}


class Reporter:
    """Shows items (builds, boots) and phases of nodes as they go.

    Attributes:
        seconds: wall time of each phase that has ended.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        self._begun = time.monotonic()
        self._phase: tuple[str, float] | None = None
        self._rows: dict[str, tuple[str, str]] = {}
        self._live: Live | None = None
        self._waiting: dict[str, threading.Timer] = {}

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(self._table(), console=self.console, transient=True, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_phase()
        for item in tuple(self._waiting):
            self._waiting.pop(item).cancel()
        if self._live:
            self._live.stop()
            self._live = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is drawn while a person is asked."""
        if self._live:
            self._live.stop()
        try:
            yield
        finally:
            if self._live:
                self._live.start()

    def phase(self, name: str) -> None:
        """A phase begins."""
        self.end_phase()
        self._phase = (name, time.monotonic())
        self.console.print(f"{self._clock()} {name}", highlight=False)
        self._refresh()

    def end_phase(self) -> None:
        """The phase that runs has ended."""
        if self._phase:
            name, begun = self._phase
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun
            self._phase = None

    def task(self, node: str, name: str, state: str) -> None:
        """A task ended on a node."""
        self._rows[node] = (name, state)
        if state in _STYLE:
            self.console.print(Text(f"{self._clock()}   {node}: {name}: {state}", style=_STYLE[state]))
        self._refresh()

    def start(self, item: str) -> None:
        """Work on an item begins; off a terminal that is told only where it takes a while."""
        self._rows[item] = ("works", "")
        self._refresh()
        if not self._live:
            timer = self._waiting[item] = threading.Timer(_PATIENCE, self.note, [f"{item} …"])
            timer.daemon = True
            timer.start()

    def advance(self, item: str, done: int, total: int) -> None:
        """So many bytes of an item are there; `total` is 0 where nobody said how many there are."""
        if self._live and item in self._rows:
            whole = f" of {total / 1e6:.0f}" if total else ""
            self._rows[item] = (f"{done / 1e6:.0f}{whole} MB", "")
            self._refresh()

    def done(self, item: str, seconds: float, cached: bool) -> None:  # noqa: FBT001  # the protocol of artifacts and lab
        """Work on an item ended; what was cached is not worth a line."""
        if item in self._waiting:
            self._waiting.pop(item).cancel()
        self._rows.pop(item, None)
        if not cached:
            self.console.print(f"{self._clock()}   {item}: {seconds:.1f} s", highlight=False)
        self._refresh()

    def note(self, text: str) -> None:
        """A line for the reader."""
        self.console.print(f"{self._clock()}   {text}", highlight=False, markup=False)

    def _clock(self) -> str:
        return f"{time.monotonic() - self._begun:7.1f} s"

    def _refresh(self) -> None:
        if self._live:
            self._live.update(self._table())

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for row, (what, state) in tuple(self._rows.items()):
            table.add_row(Text(row, style="bold"), what, Text(state, style=_STYLE.get(state, "green")))
        return table
