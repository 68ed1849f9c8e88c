"""Kernel settings and systemd's units."""

from __future__ import annotations

import subprocess
from pathlib import Path


def sysctl(name: str) -> str:
    """The value, its blanks made single (some settings are separated by tabs)."""
    return " ".join(Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").split())


def unit(name: str) -> dict[str, str]:
    """Whether a unit runs ("active") and is started at boot ("enabled")."""
    command = ["systemctl", "show", "--property=ActiveState,UnitFileState", "--", name]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    properties = dict(line.split("=", 1) for line in shown.splitlines())
    return {"active": properties["ActiveState"], "enabled": properties["UnitFileState"]}
