"""Which end-to-end tests are run."""

from __future__ import annotations

import os

_ALL = os.environ.get("KHARDEN_ALL") == "1"
# Clusters of other sizes, versions, Debian releases, networks and families take minutes: only `invoke test --all` does.
_ONLY_ALL = [
    *("test_authority.py", "test_debians.py", "test_etcd.py", "test_families.py", "test_interruption.py"),
    *("test_network.py", "test_versions.py"),
]
collect_ignore = [] if _ALL else _ONLY_ALL
