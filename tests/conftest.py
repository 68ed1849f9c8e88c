"""What tests need of a machine: in CI one that lacks it is a failure, elsewhere a reason to skip."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

# How long an example takes is no claim of ours: the machine is shared with other tests, and has slow moments.
settings.register_profile("kharden", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kharden")


def pytest_configure() -> None:
    """A shell ignores interrupts for what it starts in the background, and that is inherited: not by what is tested."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def lacking() -> str:
    """Why nodes can't run on this machine; empty where they can."""
    if sys.platform != "linux":
        return f"lab nodes need Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "lab nodes need root"
    if not (shutil.which("systemd-nspawn") or shutil.which("apt-get")):
        return "lab nodes need systemd-nspawn, and without apt-get it can't be installed here"
    return ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip lab tests where no lab can be, but never in CI; leave out what takes minutes where not all was asked for."""
    left_out = [item for item in items if item.get_closest_marker("long") and os.environ.get("KHARDEN_ALL") != "1"]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    reason = lacking()
    if not reason or os.environ.get("CI") == "true":
        return
    for item in items:
        if item.get_closest_marker("lab"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip of a test that CI can run is a failure there: a green run must not hide that nothing was tried."""
    report = yield
    marked = any(item.get_closest_marker(name) for name in ("lab", "programs"))
    if report.skipped and marked and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped in CI: {report.longrepr}"
    return report
