"""The firewall's rules in force against their file, and the way by which a run came, on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from ansible.module_utils.kharden import firewall, sessions
from ansible.module_utils.kharden.errors import NodeError

from .conftest import MODULE_UTILS, run_module

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PATH = os.pathsep.join(("/usr/sbin", "/sbin", os.environ.get("PATH", "")))
RULES = """
table inet kharden
delete table inet kharden
table inet kharden {
  set ssh4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.1 }; }
  chain input { type filter hook input priority filter; policy drop; ip saddr @ssh4 tcp dport 22 accept; }
}
"""
# Asks in the network namespace that the shell before it made, where the test may change rules.
ASK = """
import sys
import ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[1])
from ansible.module_utils.kharden import firewall
print(firewall.difference(sys.argv[2]))
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "kharden.nft"
    path.write_text(RULES, encoding="utf-8")
    return path


def asked(rules: Path, script: str) -> str:
    """What `difference` says in a network namespace of its own, after `script`."""
    if os.geteuid() != 0 or not shutil.which("nft", path=PATH):
        pytest.skip("needs root and nft: apt-get install nftables")
    command = f'{script}\nexec "$0" -c "$1" "$2" "$3"'
    done = subprocess.run(
        ["unshare", "--net", "sh", "-euc", command, sys.executable, ASK, MODULE_UTILS, rules],
        env={**os.environ, "PATH": PATH, "RULES": str(rules)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


@pytest.mark.programs
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("", ""),
        ("nft add table ip kube-proxy", ""),
        ("nft flush table inet kharden", "+\t\tip saddr @ssh4 tcp dport 22 accept"),
        ("nft delete table inet kharden", "+table inet kharden {"),
        ("nft insert rule inet kharden input accept", "-\t\taccept"),
        ("nft add element inet kharden ssh4 '{ 192.0.2.2 }'", "192.0.2.2 }"),
        (
            "nft chain inet kharden input '{ policy accept; }'",
            "+\t\ttype filter hook input priority filter; policy drop;",
        ),
        ("nft add chain inet kharden more", "-\tchain more {"),
    ],
)
def test_rules_that_were_changed_by_hand_are_seen(rules: Path, change: str, told: str) -> None:
    lines = asked(rules, f'nft --file "$RULES"\n{change}').splitlines()
    assert [line for line in lines if told in line] if told else not lines


@pytest.mark.programs
def test_loading_again_changes_no_other_table(rules: Path) -> None:
    script = """
    nft add table ip kube-proxy; nft add chain ip kube-proxy services; nft add rule ip kube-proxy services drop
    nft add table inet cni_hostport; nft --handle list ruleset > "$RULES.before"
    nft --file "$RULES"; nft --file "$RULES"
    for table in 'ip kube-proxy' 'inet cni_hostport'; do nft --handle list table $table; done > "$RULES.after"
    cmp "$RULES.before" "$RULES.after"
    """
    assert asked(rules, script) == ""


@pytest.mark.programs
def test_a_file_that_nft_refuses_is_told(rules: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("nft", path=PATH):
        pytest.skip("needs root and nft: apt-get install nftables")
    rules.write_text("table inet kharden { chain input { nonsense } }", encoding="utf-8")
    with pytest.raises(NodeError, match="nft doesn't take it"):
        firewall.difference(str(rules))


def test_without_a_file_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert firewall.difference(str(tmp_path / "none")) == ""


# --- from where


def processes(folder: Path, table: Mapping[int, tuple[int, str]]) -> Path:
    """A /proc of these processes: number → parent and environment."""
    for pid, (parent, environment) in table.items():
        (folder / str(pid)).mkdir()
        (folder / str(pid) / "stat").write_text(f"{pid} (a) b) S {parent} 1 1\n")
        (folder / str(pid) / "environ").write_text(environment)
    return folder


@pytest.mark.parametrize(
    ("environments", "expected"),
    [
        (["A=1\0SSH_CONNECTION=192.0.2.7 50000 192.0.2.11 22\0", ""], ("192.0.2.7", 22)),
        (["SUDO_USER=x\0", "SSH_CONNECTION=2001:db8::7 50000 2001:db8::11 2222\0"], ("2001:db8::7", 2222)),
        (["SSH_CONNECTION=fe80::7%eth0 50000 fe80::11%eth0 22\0", ""], ("fe80::7", 22)),
        (["XSSH_CONNECTION=192.0.2.7 50000 192.0.2.11 22\0", "SSH_CONNECTION=192.0.2.7 50000\0"], None),
    ],
)
def test_a_session_is_found_through_sudo(
    tmp_path: Path, environments: list[str], expected: tuple[str, int] | None
) -> None:
    own, parent = environments
    proc = processes(tmp_path, {os.getpid(): (7, own), 7: (1, parent), 1: (0, "")})
    assert sessions.connection(proc) == expected


def test_processes_that_may_not_be_read_are_passed_over(tmp_path: Path) -> None:
    assert sessions.connection(tmp_path) is None


@pytest.mark.parametrize(
    ("connection", "sources", "problem"),
    [
        ("192.0.2.7 50000 192.0.2.11 2222", ["192.0.2.0/24"], ""),
        ("::ffff:192.0.2.7 50000 ::ffff:192.0.2.11 2222", ["192.0.2.0/24"], ""),
        ("2001:db8::7 50000 2001:db8::11 2222", ["192.0.2.0/24", "::/0"], ""),
        (
            "198.51.100.7 50000 192.0.2.11 2222",
            ["192.0.2.0/24", "::/0"],
            "lock out 198.51.100.7, from where kharden reaches this node: add 198.51.100.7/32 to spec.access.ssh",
        ),
        (
            "192.0.2.7 50000 192.0.2.11 22",
            ["192.0.2.0/24"],
            "ssh came in on port 22, and the firewall would let in 2222",
        ),
    ],
)
def test_preflight_keeps_the_way_open_by_which_it_came(
    monkeypatch: pytest.MonkeyPatch, connection: str, sources: list[str], problem: str
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", connection)
    done = run_module("preflight", {"expectations": {"ssh": {"port": 2222, "sources": sources}}})
    assert (done.status != 0) is bool(problem)
    assert problem in done.values.get("msg", "")
