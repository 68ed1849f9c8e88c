"""Connections from within a pod of this node: through a process of it, so no program in the pod is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kharden.observe.collector import reach


def attempts(uid: str | None, asked: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Connect to each host and port from the pod of this uid; where none is said, from any that has its own network.

    Raises:
        RuntimeError: there is no such pod here.
    """
    if not asked:
        return {}
    process = _any_process() if uid is None else _process_of(uid)
    return reach.attempts_within(process, asked)


def _process_of(uid: str) -> Path:
    """A process of the pod, by its control group, whose name holds the uid (the systemd driver writes underscores)."""
    names = (f"pod{uid}", f"pod{uid.replace('-', '_')}")
    for folder, group in _processes():
        if any(name in group for name in names):
            return folder
    raise RuntimeError("the scratch pod has no process on this node")


def _any_process() -> Path:
    own = Path("/proc/self/ns/net").readlink()
    for folder, group in _processes():
        try:
            if "kubepods" in group and (folder / "ns/net").readlink() != own:
                return folder
        except OSError:
            continue  # it ended
    raise RuntimeError("there is no pod with a network of its own on this node")


def _processes() -> list[tuple[Path, str]]:
    """Every process, and its control groups as the kernel lists them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((folder, (folder / "cgroup").read_text(encoding="utf-8", errors="replace")))
        except OSError:
            continue  # it ended
    return found
