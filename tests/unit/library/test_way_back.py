"""The way back from a change of the firewall: what it puts in force, and how it is set, kept and taken."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playbooks.module_utils.kharden import way_back
    from playbooks.module_utils.kharden.errors import NodeError
    from playbooks.module_utils.kharden.units import Unit
else:
    from ansible.module_utils.kharden import way_back
    from ansible.module_utils.kharden.errors import NodeError
    from ansible.module_utils.kharden.units import Unit

PATH = os.pathsep.join(("/usr/sbin", "/sbin", os.environ.get("PATH", "")))
IN_FORCE = """\
table inet kharden {
	set ssh4 {
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/8, 192.0.2.1 }
	}

	chain input {
		type filter hook input priority filter; policy drop;
		ip saddr @ssh4 tcp dport 22 accept
	}
}
"""
CHANGED = "table inet kharden\ndelete table inet kharden\ntable inet kharden {\n\tchain other {\n\t}\n}\n"
# Loads the changed rules, goes the way back, and tells what is in force then.
SWAP = 'nft --file "$1"; shift; "$@"; nft --stateless list ruleset'


class Systemd:
    """The edge: what is asked of systemd and of nft, and whether the timer runs."""

    def __init__(self, in_force: str = IN_FORCE, *, timer: bool = False, broken: bool = False) -> None:
        self.in_force, self.timer, self.broken = in_force, timer, broken
        self.asked: list[list[str]] = []

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        assert timeout
        self.asked.append(list(argv))
        if argv[0] == "nft":
            return (0, self.in_force) if self.in_force else (1, "no such table")
        if argv[0] == "systemd-run":
            self.timer = not self.broken
        return (1, "Failed to\nstart") if self.broken else (0, "")

    def systemctl(self, verb: str, name: str, timeout: float) -> None:
        assert timeout
        self.asked.append([verb, name])
        self.timer = False

    def show(self, names: list[str]) -> dict[str, Unit]:
        return {name: Unit(name, active="active" if self.timer else "inactive") for name in names}


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Systemd]:
    def make(in_force: str = IN_FORCE, *, timer: bool = False, broken: bool = False) -> Systemd:
        made = Systemd(in_force, timer=timer, broken=broken)
        for name in ("run", "systemctl", "show"):
            monkeypatch.setattr(way_back, name, getattr(made, name))
        return made

    monkeypatch.setattr(way_back, "_FOLDER", tmp_path / "way-back")
    return make


def script_of(systemd: Systemd) -> list[str]:
    (command,) = (argv for argv in systemd.asked if argv[0] == "systemd-run")
    return command[command.index("/bin/sh") :]


@pytest.mark.parametrize("in_force", [IN_FORCE, ""])
def test_what_was_in_force_comes_back_and_a_reboot_brings_it_too(
    systemd: Callable[..., Systemd], tmp_path: Path, in_force: str
) -> None:
    if os.geteuid() != 0 or not shutil.which("nft", path=PATH):
        pytest.skip("needs root and nft: apt-get install nftables")
    rules = tmp_path / "kharden.nft"
    rules.write_text(CHANGED, encoding="ascii")
    edge = systemd(in_force)
    way_back.prepare(sshd=False, rules=str(rules))
    listed = subprocess.run(
        ["unshare", "--net", "sh", "-euc", SWAP, "sh", str(rules), *script_of(edge)],
        env={**os.environ, "PATH": PATH},
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout == in_force
    assert rules.exists() is bool(in_force)
    if in_force:
        assert rules.read_text(encoding="ascii").endswith(in_force)


@pytest.fixture
def sshd(systemd: Callable[..., Systemd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sshd:
    """A node whose sshd has kharden's first settings, with which nobody has come in yet."""
    folder = tmp_path.resolve()
    settings, programs = folder / "etc" / "00-kharden.conf", folder / "programs"
    for path in (settings.parent, programs, folder / "state"):
        path.mkdir()
    monkeypatch.setattr(way_back, "SETTINGS", str(settings))
    monkeypatch.setattr(way_back, "PROVEN", str(folder / "state" / "sshd.conf"))
    for name in ("nft", "systemctl"):
        program = programs / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {folder}/asked\ntest {name} != nft\n', encoding="ascii")
        program.chmod(0o755)
    settings.write_text("# first\n", encoding="ascii")
    settings.chmod(0o600)
    return Sshd(systemd, settings, folder)


@dataclass(frozen=True)
class Sshd:
    """Its settings, and a way back whose nft fails."""

    systemd: Callable[..., Systemd]
    settings: Path
    folder: Path

    @property
    def asked(self) -> str:
        """What systemctl was asked."""
        lines = (self.folder / "asked").read_text(encoding="ascii").splitlines()
        return "".join(line for line in lines if line.startswith("systemctl"))

    def way_back(self, *, sshd: bool = True) -> None:
        edge = self.systemd()
        way_back.prepare(sshd=sshd, rules=str(self.folder / "rules"))
        environment = {"PATH": f"{self.folder}/programs:/usr/bin:/bin"}
        assert subprocess.run(script_of(edge), env=environment, check=False).returncode == 1


def test_without_settings_that_were_proven_kharden_s_go(sshd: Sshd) -> None:
    sshd.way_back()
    assert not sshd.settings.exists()
    assert sshd.asked == "systemctl reload-or-restart ssh.service"


def test_the_settings_with_which_somebody_got_in_come_back(sshd: Sshd) -> None:
    sshd.systemd()
    way_back.prepare(sshd=True)
    way_back.confirm()
    kept = sshd.folder / "state" / "sshd.conf"
    assert (kept.read_text(encoding="ascii"), kept.stat().st_mode & 0o7777) == ("# first\n", 0o600)
    sshd.settings.write_text("AllowUsers nobody\n", encoding="ascii")
    sshd.way_back()
    assert sshd.settings.read_text(encoding="ascii") == "# first\n"
    assert sshd.settings.stat().st_mode & 0o7777 == 0o600
    assert sshd.asked == "systemctl reload-or-restart ssh.service"
    assert [path.name for path in sshd.settings.parent.iterdir()] == ["00-kharden.conf"]


def test_settings_that_were_not_confirmed_in_time_are_none_to_go_back_to(sshd: Sshd) -> None:
    sshd.systemd(timer=False)
    with pytest.raises(NodeError, match="nobody came in anew within 60 s"):
        way_back.confirm()
    assert not (sshd.folder / "state" / "sshd.conf").exists()


def test_settings_of_sshd_that_did_not_change_stay(sshd: Sshd) -> None:
    sshd.way_back(sshd=False)
    assert sshd.settings.read_text(encoding="ascii") == "# first\n"
    assert sshd.asked == ""


def test_the_timer_is_set_for_a_minute_and_an_older_one_stopped(systemd: Callable[..., Systemd]) -> None:
    edge = systemd(timer=True)
    way_back.prepare(sshd=False)
    assert edge.asked[0] == ["stop", "kharden-way-back.timer"]
    assert "--on-active=60s" in edge.asked[-1]


def test_without_a_way_back_nothing_is_done(systemd: Callable[..., Systemd]) -> None:
    systemd(broken=True)
    with pytest.raises(NodeError, match="can't be prepared, so nothing was changed: Failed to start"):
        way_back.prepare(sshd=True)


def test_what_is_confirmed_stays(
    systemd: Callable[..., Systemd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way_back, "SETTINGS", f"{tmp_path.resolve()}/none.conf")
    edge = systemd()
    way_back.prepare(sshd=True)
    way_back.confirm()
    assert edge.asked[-1] == ["stop", "kharden-way-back.timer"]
    assert not (tmp_path / "way-back").exists()
    with pytest.raises(NodeError, match="nobody came in anew within 60 s, so the change was taken back"):
        way_back.confirm()


def test_what_is_lost_is_taken_back_at_once(systemd: Callable[..., Systemd]) -> None:
    edge = systemd()
    way_back.take()
    assert edge.asked == []
    way_back.prepare(sshd=True)
    # What the script reads is removed afterwards, so its end is waited for.
    assert "--service-type=oneshot" in next(argv for argv in edge.asked if argv[0] == "systemd-run")
    way_back.take()
    assert ["start", "--", "kharden-way-back.service"] in [argv[2:] for argv in edge.asked]
    assert not edge.timer


def test_a_way_back_that_fails_is_told_and_tried_again_by_the_timer(
    systemd: Callable[..., Systemd], tmp_path: Path
) -> None:
    edge = systemd()
    way_back.prepare(sshd=True)
    edge.broken = True
    with pytest.raises(
        NodeError, match="couldn't be taken back, which the node tries again by itself: Failed to start"
    ):
        way_back.take()
    assert edge.timer
    assert (tmp_path / "way-back" / "rules.nft").exists()
