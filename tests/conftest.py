"""In CI nothing that needs the lab or the real programs may be left out."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator


def pytest_configure() -> None:
    """A shell ignores interrupts for what it starts in the background, and that is inherited: not by what is tested."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip of a test that CI can run is a failure there: a green run must not hide that nothing was tried."""
    report = yield
    marked = any(item.get_closest_marker(name) for name in ("lab", "programs"))
    if report.skipped and marked and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped in CI: {report.longrepr}"
    return report
