# SPDX-License-Identifier: Apache-2.0
"""The way back from a change that could lock everybody out: it happens by itself, unless somebody comes in anew.

Connections that are open when the firewall's rules or sshd's settings change stay open and prove nothing. So before the
change a timer of systemd's is set that takes it back, and only a run that comes after a new login stops it. The
node needs nobody for that: the controller may be gone, or locked out.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from . import firewall
from .errors import NodeError
from .units import run, show, systemctl

UNIT = "kharden-way-back"
SSHD = "ssh.service"
SETTINGS = "/etc/ssh/sshd_config.d/00-kharden.conf"
SECONDS = 60
_FOLDER = Path("/run/kharden/way-back")
_TIMEOUT = 60
# nftables makes a table that isn't there before it deletes it, so this works with and without one.
_WITHOUT = "table inet kharden\ndelete table inet kharden\n"
# What is in force after it is also what a reboot brings. $1: the folder; $2: the rules; $3: sshd's settings, or none.
_SCRIPT = """
nft --file "$1/rules.nft"
if test -s "$1/in-force"; then cp -- "$1/rules.nft" "$2"; else rm -f -- "$2"; fi
if test -n "$3"; then rm -f -- "$3"; systemctl try-reload-or-restart ssh.service; fi
"""


def prepare(*, sshd: bool, seconds: float = SECONDS, rules: str = firewall.RULES) -> None:
    """Set the timer: what is in force now comes back after `seconds`; with `sshd`, without kharden's settings of it.

    Raises:
        NodeError: it can't be set; nothing was changed then.
    """
    forget()
    status, found = run(firewall.LIST, _TIMEOUT)
    in_force = "" if status else found
    _FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    (_FOLDER / "in-force").write_text(in_force)
    (_FOLDER / "rules.nft").write_text(_WITHOUT + in_force)
    command = [
        *(
            "systemd-run",
            "--collect",
            f"--unit={UNIT}",
            f"--on-active={seconds}s",
            "--timer-property=AccuracySec=100ms",
            "--",
        ),
        *("/bin/sh", "-euc", _SCRIPT, "sh", str(_FOLDER), rules, SETTINGS if sshd else ""),
    ]
    status, said = run(command, _TIMEOUT)
    if status:
        raise NodeError(f"the way back can't be prepared, so nothing was changed: {' '.join(said.split())[:200]}")


def confirm() -> None:
    """Somebody came in anew: what was changed stays.

    Raises:
        NodeError: that was too late.
    """
    if not show([f"{UNIT}.timer"])[f"{UNIT}.timer"].runs:
        raise NodeError(
            f"nobody came in anew within {SECONDS} s, so the change was taken back: see why, and apply again"
        )
    forget()


def take() -> None:
    """Go back now."""
    if _FOLDER.exists():
        systemctl("start", f"{UNIT}.service", timeout=_TIMEOUT)
        forget()


def forget() -> None:
    """Stop the timer, where there is one, and remove what it would have taken."""
    if show([f"{UNIT}.timer"])[f"{UNIT}.timer"].runs:
        systemctl("stop", f"{UNIT}.timer", timeout=_TIMEOUT)
    shutil.rmtree(_FOLDER, ignore_errors=True)
