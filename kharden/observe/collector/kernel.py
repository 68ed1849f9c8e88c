"""Kernel settings and systemd's units."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/proc/sys")


def sysctl(name: str) -> str:
    """The value, its blanks made single (some settings are separated by tabs)."""
    return _value(_ROOT.joinpath(*name.split(".")))


def of_interfaces(name: str) -> dict[str, str]:
    """The value of each interface, which stands where the name has `*`; one that goes meanwhile is left out."""
    before, after = (part.strip(".").replace(".", "/") for part in name.split("*"))
    values = {}
    for folder in _ROOT.joinpath(before).glob("*"):
        with suppress(FileNotFoundError):
            values[folder.name] = _value(folder / after)
    return values


def _value(path: Path) -> str:
    return " ".join(path.read_text(encoding="ascii").split())


def unit(name: str) -> dict[str, str]:
    """Whether a unit runs ("active") and is started at boot ("enabled")."""
    command = ["systemctl", "show", "--property=ActiveState,UnitFileState", "--", name]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    properties = dict(line.split("=", 1) for line in shown.splitlines())
    return {"active": properties["ActiveState"], "enabled": properties["UnitFileState"]}
