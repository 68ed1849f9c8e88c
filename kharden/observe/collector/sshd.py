"""sshd's effective settings."""

from __future__ import annotations

import subprocess

_SECONDS = 60


def settings(user: str) -> dict[str, str]:
    """What `sshd -T` says for a user who comes from this machine; of a setting that has several values the last."""
    place = f"user={user},host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22"
    command = ["/usr/sbin/sshd", "-T", "-C", place]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    return dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)
