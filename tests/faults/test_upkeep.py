"""What a machine keeps: files on a disk that fails, and tables of others in its firewall."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Node, Run

pytestmark = [pytest.mark.lab, pytest.mark.programs]


# --- while files are written

BALANCER = "/etc/haproxy/haproxy.cfg"
ON_ITS_OWN = """
mkdir /run/own && cp --archive /etc/haproxy/. /run/own/
mount -t tmpfs -o size=256k none /etc/haproxy
cp --archive /run/own/. /etc/haproxy/ && echo '# mine' >> {0} && sha256sum < {0}
"""
WRITING = {
    "full": ("dd if=/dev/zero of=/etc/haproxy/zero bs=4k 2> /dev/null || true", "No space left on device"),
    "read-only": ("mount -o remount,ro /etc/haproxy", "Read-only file system"),
}


@pytest.mark.parametrize("kind", WRITING)
def test_a_disk_that_cant_be_written_leaves_the_old_file_whole(kharden: Run, node: Node, kind: str) -> None:
    script, sign = WRITING[kind]
    before = node("w1", ON_ITS_OWN.format(BALANCER))
    try:
        node("w1", script)
        refused = kharden("apply", "--yes", status=1)
        assert node("w1", f"sha256sum < {BALANCER}") == before
        assert "zero\n" in node("w1", "ls -A /etc/haproxy && echo zero")
        assert node("w1", "find /etc/haproxy -name '.*' -type f") == ""
    finally:
        node("w1", "umount /etc/haproxy; rm -r /run/own")
    (line,) = refused.stderr.splitlines()
    assert line.startswith(
        f"kharden: w1: Place all files: /etc/haproxy/.haproxy.cfg.kharden-new: can't write ({sign}): "
    )
    kharden("apply", "--yes")
    assert "nothing to change" in kharden("plan").stdout


# --- tables of others

MINE = "table inet mine { chain c { ip saddr { 192.0.2.1, 192.0.2.7 } counter; }; }"


def test_a_firewall_that_is_loaded_again_touches_no_other_table(kharden: Run, node: Node) -> None:
    node("w1", f"echo '{MINE}' | nft -f -")
    others = "nft --stateless list ruleset | sed '/^table inet kharden/,/^}/d'"
    own = "nft --stateless list table inet kharden"
    before, rules = node("w1", others), node("w1", own)
    try:
        assert "table inet mine" in before
        assert "table ip kube-proxy" in before
        node("w1", "nft delete table inet kharden")
        kharden("apply", "--yes")
        assert (node("w1", others), node("w1", own)) == (before, rules)
    finally:
        node("w1", "nft delete table inet mine")
