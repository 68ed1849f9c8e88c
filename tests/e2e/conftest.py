"""What end-to-end tests need of a machine. In CI a machine that lacks it is a failure, elsewhere a reason to skip."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

# Clusters of other sizes, versions, Debian releases, networks and families take minutes: only `invoke test --all` does.
_ONLY_ALL = ["test_debians.py", "test_families.py", "test_ha.py", "test_network.py", "test_versions.py"]
collect_ignore = [] if os.environ.get("KHARDEN_ALL") == "1" else _ONLY_ALL


def lacking() -> str:
    """Why nodes can't run on this machine; empty where they can."""
    if sys.platform != "linux":
        return f"lab nodes need Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "lab nodes need root"
    if not (shutil.which("systemd-nspawn") or shutil.which("apt-get")):
        return "lab nodes need systemd-nspawn, and without apt-get it can't be installed here"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip lab tests where no lab can be, but never in CI."""
    reason = lacking()
    if not reason or os.environ.get("CI") == "true":
        return
    for item in items:
        if item.get_closest_marker("lab"):
            item.add_marker(pytest.mark.skip(reason=reason))
