"""What ssh says when a machine can't be reached, in one line: whose key is foreign, or who didn't answer."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 40
_LONGEST = 300
# OpenSSH's sshconnect.c, check_host_key and its callers: another key than the known one, or of a kind that isn't known.
_OTHER_KEY = re.compile(r"(?:Host key for|host key is known for) (\S+) (?:has changed|and you have requested)")
_OTHER_KEY_UNNAMED = ("HOST IDENTIFICATION HAS CHANGED", "Host key verification failed", "No matching host key")
# What is only heard of the other end when a jump host has failed before.
_ECHOES = ("kex_exchange_identification:", "Connection closed by", "ssh_exchange_identification:")
_WITHOUT_SUDO = (
    *("Missing sudo password", "sudo: a password is required", "sudo: a terminal is required"),
    *("sudo: command not found", "sudo: not found", "not in the sudoers file", "is not allowed to execute"),
)

SUDO_REMEDY = "let sudo make that user root without a password (NOPASSWD in /etc/sudoers.d), or log in as root"


def environment() -> dict[str, str]:
    """For ssh: its words in the language that is looked for here."""
    return {**os.environ, "LC_ALL": "C"}


def is_key_file(path: str) -> bool:
    """Whether this file is there; ssh takes its tilde for the home folder that passwd(5) names."""
    return os.path.isfile(path.replace("~", pwd.getpwuid(os.getuid()).pw_dir, 1) if path[0] == "~" else path)  # noqa: PTH113  # a text of cluster.yaml


def foreign_host(said: str, host: str) -> str | None:
    """The machine, `host` or one on the way there, whose host key is not the pinned one; None where none is."""
    found = _OTHER_KEY.search(said)
    if found:
        return found[1]
    return host if any(sign in said for sign in _OTHER_KEY_UNNAMED) else None


def lacks_sudo(said: str) -> bool:
    """Whether somebody wanted to be root and may not, or not without a password."""
    return any(sign in said for sign in _WITHOUT_SUDO)


def last_words(said: str) -> str:
    """The line that tells most."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_ECHOES)]
    return (telling or lines or ["no reason given"])[-1][:_LONGEST]


def explain(config: Path, host: str) -> str:
    """Connect once more and return what every ssh on the way says; empty where it works now.

    An ssh that stays for others (ControlPersist) silences the one that it starts for a jump host (OpenSSH's
    sshconnect.c, ssh_proxy_connect), so this one stays for nobody.
    """
    command = ["ssh", "-F", str(config), "-o", "ControlMaster=no", "-o", "ControlPath=none", host, "--", "true"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
            check=False,
            env=environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stderr.decode(errors="replace") if done.returncode else ""


def out_of_reach(config: Path, host: str) -> str:
    """Why a machine can't be reached; empty where it can be now."""
    said = explain(config, host)
    if not said:
        return ""
    foreign = foreign_host(said, host)
    if foreign is None:
        return f"can't be reached: {last_words(said)}"
    whose = "its" if foreign == host else f"{foreign}'s"
    return f"{whose} ssh host key is not the pinned one: find out why before you pin another"
