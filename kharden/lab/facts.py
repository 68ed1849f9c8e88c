"""What the lab's host is like, as far as a plan depends on it."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.lab import cgroups
from kharden.lab.keys import host_key, login_key, public_key
from kharden.plan.facts import LabFacts

if TYPE_CHECKING:
    from kharden.lab.model import Lab

# capabilities(7), linux/capability.h.
_CAP_SYS_RESOURCE = 24


def collect(lab: Lab) -> LabFacts:
    """Facts of this host and the lab's nodes; their keys must have been made."""
    return LabFacts(
        cgroup_version=cgroups.version(cgroups.host_hierarchies()),
        oom_adjustable=has_capability(Path("/proc/self/status").read_text(encoding="utf-8"), _CAP_SYS_RESOURCE),
        file_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        ssh_key=login_key(lab.name),
        host_keys={node.name: (public_key(host_key(lab.name, node.name)),) for node in lab.nodes},
    )


def has_capability(status: str, bit: int) -> bool:
    """Whether a /proc/PID/status has this capability in its bounding set: what a node's processes can have at most."""
    for line in status.splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> bit & 1)
    return False
