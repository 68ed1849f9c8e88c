"""Where the lab keeps things: state for each lab, base trees in the cache, a register of this machine in /run."""

from __future__ import annotations

import os
from pathlib import Path

# One for the whole machine, whoever's state folder a lab lies in: bridges, subnets and sysctls are shared.
REGISTER = Path("/run/kharden-lab")


def state_folder(lab_name: str) -> Path:
    """The folder of one lab: keys, nodes' disks, consoles, logs (XDG Base Directory Specification)."""
    return state_root() / lab_name


def state_root() -> Path:
    """The folder of all labs of this user."""
    return _base("XDG_STATE_HOME", ".local/state") / "kharden/lab"


def node_folder(lab_name: str, node_name: str) -> Path:
    """The folder of one node."""
    return state_folder(lab_name) / "nodes" / node_name


def trees_folder() -> Path:
    """The folder of the base trees, shared by all labs and kept by `down`."""
    chosen = os.environ.get("KHARDEN_CACHE")
    cache = Path(chosen).absolute() if chosen else _base("XDG_CACHE_HOME", ".cache") / "kharden"
    return cache / "trees"


def _base(variable: str, default: str) -> Path:
    # The specification: a relative path in these variables is invalid and to be ignored.
    chosen = Path(os.environ.get(variable, ""))
    return chosen if chosen.is_absolute() else Path.home() / default
