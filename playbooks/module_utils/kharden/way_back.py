# SPDX-License-Identifier: Apache-2.0
"""The way back from a change that could lock everybody out: it happens by itself, unless somebody comes in anew.

Connections that are open when the firewall's rules or sshd's settings change stay open and prove nothing. So before the
change a timer of systemd's is set that takes it back, and only a run that comes after a new login stops it. The
node needs nobody for that: the controller may be gone, or locked out.
"""

from __future__ import annotations

import io
import shutil
from hashlib import sha256
from pathlib import Path

from . import files, firewall
from .errors import NodeError
from .units import run, show, systemctl

UNIT = "kharden-way-back"
SSHD = "ssh.service"
SETTINGS = "/etc/ssh/sshd_config.d/00-kharden.conf"
# A copy of the settings with which somebody got in last; the first ones of kharden have none before them.
PROVEN = "/var/lib/kharden/sshd.conf"
SECONDS = 60
_FOLDER = Path("/run/kharden/way-back")
_TIMEOUT = 60
# nftables makes a table that isn't there before it deletes it, so this works with and without one.
_WITHOUT = "table inet kharden\ndelete table inet kharden\n"
# What is in force after it is also what a reboot brings, and where rules fail sshd still has its turn. $1: the folder;
# $2: the rules; $3: sshd's settings, or none; $4: those that were proven; $5: a name beside them that sshd ignores.
_SCRIPT = """
status=0
nft --file "$1/rules.nft" || status=1
if test -s "$1/in-force"; then cp -- "$1/rules.nft" "$2" || status=1; else rm -f -- "$2"; fi
if test -n "$3"; then
    if test -s "$4"; then
        install --mode=0600 -- "$4" "$5"
        mv -f -- "$5" "$3"
    else
        rm -f -- "$3"
    fi
    systemctl reload-or-restart ssh.service
fi
exit $status
"""


def prepare(*, sshd: bool, seconds: float = SECONDS, rules: str = firewall.RULES) -> None:
    """Set the timer: the rules in force now come back after `seconds`; with `sshd`, its settings that were proven last.

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
            # Who starts it by hand goes on when it has ended: what it reads is removed then.
            "--service-type=oneshot",
            f"--unit={UNIT}",
            f"--on-active={seconds}s",
            "--timer-property=AccuracySec=100ms",
            "--",
        ),
        *("/bin/sh", "-euc", _SCRIPT, "sh", str(_FOLDER), rules),
        *(SETTINGS if sshd else "", PROVEN, files.temporary(SETTINGS)),
    ]
    status, said = run(command, _TIMEOUT)
    if status:
        raise NodeError(f"the way back can't be prepared, so nothing was changed: {' '.join(said.split())[:200]}")


def confirm() -> None:
    """Somebody came in anew: what was changed stays, and sshd's settings are what the next way back leads to.

    Raises:
        NodeError: that was too late.
    """
    if not _waits():
        raise NodeError(
            f"nobody came in anew within {SECONDS} s, so the change was taken back: see why, and apply again"
        )
    settings = _content(SETTINGS)
    if settings is not None and settings != _content(PROVEN):
        files.prepare(PROVEN, io.BytesIO(settings), files.own(0o600), sha256=sha256(settings).hexdigest())
        files.commit(PROVEN)
    forget()


def _content(path: str) -> bytes | None:
    if files.look(path) is None:
        return None
    with files.reading(path) as stream:
        return stream.read()


def take() -> None:
    """Go back now, unless the timer has done so.

    Raises:
        NodeError: that failed; the timer is left to try again.
    """
    if _waits():
        status, said = run(["systemctl", "--no-ask-password", "start", "--", f"{UNIT}.service"], _TIMEOUT)
        if status and _waits():  # else the timer was quicker
            why = " ".join(said.split())[:200]
            raise NodeError(f"the change couldn't be taken back, which the node tries again by itself: {why}")
    forget()


def forget() -> None:
    """Stop the timer, where there is one, and remove what it would have taken."""
    if _waits():
        systemctl("stop", f"{UNIT}.timer", timeout=_TIMEOUT)
    shutil.rmtree(_FOLDER, ignore_errors=True)


def _waits() -> bool:
    """Whether the timer is set."""
    return show([f"{UNIT}.timer"])[f"{UNIT}.timer"].runs
