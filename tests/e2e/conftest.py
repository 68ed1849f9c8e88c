"""Which end-to-end tests are run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_ALL = os.environ.get("KHARDEN_ALL") == "1"
# Clusters of other sizes, versions, Debian releases, networks and families take minutes: only `invoke test --all` does.
_ONLY_ALL = [
    *("test_authority.py", "test_debians.py", "test_etcd.py", "test_families.py", "test_interruption.py"),
    *("test_network.py", "test_versions.py"),
]
collect_ignore = [] if _ALL else _ONLY_ALL


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The same for single tests that are marked so, of a cluster that is brought up every time."""
    left_out = [item for item in items if item.get_closest_marker("long") and not _ALL]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
