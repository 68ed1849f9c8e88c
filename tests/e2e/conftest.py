"""Which end-to-end tests are run."""

from __future__ import annotations

import os

# Clusters of other sizes, versions, Debian releases, networks and families take minutes: only `invoke test --all` does.
_ONLY_ALL = ["test_debians.py", "test_families.py", "test_ha.py", "test_network.py", "test_versions.py"]
collect_ignore = [] if os.environ.get("KHARDEN_ALL") == "1" else _ONLY_ALL
