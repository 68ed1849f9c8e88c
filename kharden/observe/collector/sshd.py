"""sshd's effective settings, and what its `Match` blocks change for others."""

from __future__ import annotations

import re
import subprocess
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 60
_CONFIG = Path("/etc/ssh/sshd_config")
_CAME_FROM = re.compile(rb"(?:^|\0)SSH_CONNECTION=([0-9A-Fa-f.:]+) ")
_PARENT = re.compile(r"^PPid:\t([0-9]+)$", re.MULTILINE)
# Ways in without a key. The last is an older name (sshd_config(5)).
_KEYLESS = frozenset(
    {
        "passwordauthentication",
        "kbdinteractiveauthentication",
        "gssapiauthentication",
        "hostbasedauthentication",
        "permitemptypasswords",
        "challengeresponseauthentication",
    }
)


def settings(user: str, address: str, port: int) -> dict[str, str]:
    """What `sshd -T` says for a user who comes to this address and port from where this run itself came.

    Of a setting that has several values it is the last.
    """
    origin = came_from() or address
    place = f"user={user},host={origin},addr={origin},laddr={address},lport={port}"
    command = ["/usr/sbin/sshd", "-T", "-f", str(_CONFIG), "-C", place]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    return dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)


def came_from() -> str:
    """The address from which this run logged in; "" where it didn't by ssh.

    sshd tells it to the session (ssh(1), SSH_CONNECTION), and sudo takes it away, so the processes above are asked too.
    """
    process = "self"
    while process not in ("0", "1"):
        folder = Path("/proc", process)
        if found := _CAME_FROM.search((folder / "environ").read_bytes()):
            return found[1].decode()
        parent = _PARENT.search((folder / "status").read_text())
        process = parent[1] if parent else "0"
    return ""


def keyless() -> list[str]:
    """Lines of `Match` blocks that let somebody in without a key, whoever it is, each with its file."""
    return list(_keyless(_CONFIG, matched=False))


def _keyless(path: Path, *, matched: bool) -> Iterator[str]:
    for line in path.read_text(errors="replace").splitlines():
        keyword, *values = re.split(r"[\s=]+", line.strip().replace('"', ""))
        keyword = keyword.lower()
        if keyword == "include":
            for pattern in values:
                for included in sorted(glob(str(_CONFIG.parent / pattern))):  # noqa: PTH207  # as sshd: no hidden files
                    yield from _keyless(Path(included), matched=matched)
        elif matched and keyword in _KEYLESS and values[:1] == ["yes"]:
            yield f"{path}: {line.strip()}"
        matched = matched or keyword == "match"
