"""Who logs in on a machine of the lab, and where its ssh server listens: the files that say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kharden.errors import InputError
from kharden.lab.keys import login_key

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.lab.model import Lab, LabNode

_ROOT = "root"
_DEFAULT_PORT = 22
# adduser's first number for a person (adduser.conf(5), FIRST_UID).
_UID = 1000


@dataclass(frozen=True, slots=True)
class LoginFile:
    """A file or, without content, a folder of a machine's disk; `path` is relative to its root."""

    path: str
    content: bytes | None
    mode: int
    uid: int = 0
    gid: int = 0


def login_files(lab: Lab, node: LabNode, base: Path) -> tuple[LoginFile, ...]:
    """What makes the machine's user and its port; `base` is the root of the tree that its disk lies above.

    Raises:
        InputError: Debian has a system user of that name.
    """
    keys = login_key(lab.name).with_suffix(".pub").read_bytes()
    files: list[LoginFile] = []
    settings = f"Port {node.port}\n" if node.port != _DEFAULT_PORT else ""
    if node.user == _ROOT:
        files.append(LoginFile("root/.ssh/authorized_keys", keys, 0o600))
    else:
        settings += "PermitRootLogin no\n"
        files += _account(node, base)
        files += (
            LoginFile(f"home/{node.user}", None, 0o700, _UID, _UID),
            LoginFile(f"home/{node.user}/.ssh", None, 0o700, _UID, _UID),
            LoginFile(f"home/{node.user}/.ssh/authorized_keys", keys, 0o600, _UID, _UID),
        )
        if node.sudo:
            rule = f"{node.user} ALL=(ALL:ALL) NOPASSWD: ALL\n"
            files.append(LoginFile("etc/sudoers.d/kharden-lab", rule.encode(), 0o440))
    if settings:
        files.append(LoginFile("etc/ssh/sshd_config.d/10-kharden-lab.conf", settings.encode(), 0o644))
    return tuple(files)


def _account(node: LabNode, base: Path) -> tuple[LoginFile, ...]:
    """passwd(5), group(5) and shadow(5) with one line more; an asterisk is a password that nobody has."""
    lines = {
        "etc/passwd": f"{node.user}:x:{_UID}:{_UID}::/home/{node.user}:/bin/bash\n",
        "etc/group": f"{node.user}:x:{_UID}:\n",
        "etc/shadow": f"{node.user}:*:20000:0:99999:7:::\n",
    }
    files = []
    for path, line in lines.items():
        there = (base / path).read_text(encoding="utf-8")
        if any(row.startswith(f"{node.user}:") for row in there.splitlines()):
            raise InputError(f"{node.name}: Debian has a user or group {node.user} of its own", remedy="choose another")
        found = (base / path).stat()
        files.append(LoginFile(path, (there + line).encode(), found.st_mode & 0o7777, found.st_uid, found.st_gid))
    return tuple(files)
