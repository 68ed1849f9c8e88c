"""Waiting for what others do."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import Popen

    from tests.faults.conftest import Site


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


def helpers(site: Site) -> dict[int, str]:
    """Processes that work for this site, and how they were called: its folders stand in their arguments."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            arguments = path.read_bytes()
            if os.fsencode(site.memory) in arguments or os.fsencode(site.root) in arguments:
                found[int(path.parent.name)] = arguments.replace(b"\0", b" ").decode(errors="replace")[:200]
    return found
