"""Waiting for what others do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import Popen


def wait_for(condition: Callable[[], object], what: str, seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"{what}: not within {seconds} s"
        time.sleep(0.05)  # the pace of looking; the condition ends the wait


def await_line(log: Path, text: str, process: Popen[str]) -> None:
    def said() -> bool:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        return text in log.read_text(encoding="utf-8")

    wait_for(said, f"the line {text!r}", 300)
