"""The journal: how it is configured, and what is kept."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

_FOLDER = "/var/log/journal"
_SECONDS = 60


def journal() -> dict[str, Any]:
    """Settings of journald, as its file and all drop-ins together give them, and the sizes of journals on the disk."""
    command = ["systemd-analyze", "cat-config", "systemd/journald.conf"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    kept = {str(path): path.stat().st_blocks * 512 for path in sorted(Path(_FOLDER).glob("*/*.journal*"))}
    return {"settings": settings(shown), "kept": kept}


def settings(text: str) -> dict[str, str]:
    """Keys of the section Journal; the last assignment counts (systemd.syntax(7))."""
    found: dict[str, str] = {}
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line
        elif section == "[Journal]" and not line.startswith(("#", ";")) and "=" in line:
            key, _, value = line.partition("=")
            found[key.strip()] = value.strip()
    return found
