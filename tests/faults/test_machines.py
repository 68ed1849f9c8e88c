"""Machines that aren't as they should be, before a run, in the middle of it and after it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.faults.waiting import await_line

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Node, Run, Site, Start

pytestmark = [pytest.mark.lab, pytest.mark.programs]

KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"
# A controller whose clock is two minutes ahead: each Python that is started there reads this first, and Ansible's
# tells nodes the time.
AHEAD = """
import datetime
import sys

real = datetime.datetime


class Ahead(real):
    @classmethod
    def now(cls, tz=None):
        # One of Ansible's own kind: it writes times into what it sends to nodes.
        return real.now(tz) + datetime.timedelta(seconds=120)


if any("ansible-playbook" in part for part in sys.orig_argv):
    datetime.datetime = Ahead
"""
# What a repair would put right at once: where it is still there, nothing was changed.
SPOIL = "chmod 0640 {0}; stat --format=%a {0}"
SPOILT = {"cp1": "/etc/kubernetes/admin.conf", "w1": "/etc/containerd/config.toml"}

REMEDY = ": mend that and apply again; it goes on where it stopped"


def spoil(node: Node) -> None:
    for name, path in SPOILT.items():
        assert node(name, SPOIL.format(path)) == "640\n"


def modes(node: Node) -> list[str]:
    return [node(name, f"stat --format=%a {path}").strip() for name, path in SPOILT.items()]


# --- before a run

# On w1: swap, a kernel without seccomp, somebody's program on the balancer's port, no room for network plugins and a
# filesystem that is read-only. On cp1: no room in the audit log's folder.
HARM = {
    "w1": """
printf 'Filename Type Size Used Priority\\n/dev/sdz9 partition 1 0 -2\\n' > /run/swaps
mount --bind /run/swaps /proc/swaps
mount -t tmpfs none /proc/sys/kernel
mount -t tmpfs -o size=1m none /opt/cni/bin
mount --bind /usr/local/bin /usr/local/bin
mount -o remount,bind,ro /usr/local/bin
systemd-run --quiet --unit=squatter python3 -m http.server --bind 10.82.0.21 7443
timeout 60 sh -c 'until ss --listening --tcp --numeric | grep --quiet 10.82.0.21:7443; do sleep 0.1; done'
""",
    "cp1": "mount -t tmpfs -o size=4m none /var/log/kubernetes/audit",
}
MEND = {
    "w1": """
systemctl stop squatter || true
for path in /usr/local/bin /opt/cni/bin /proc/sys/kernel /proc/swaps; do umount $path || true; done
""",
    "cp1": "umount /var/log/kubernetes/audit",
}


def test_what_a_machine_lacks_is_named_at_once_before_any_change(
    site: Site, kharden: Run, node: Node, tmp_path: Path
) -> None:
    spoil(node)
    (tmp_path / "sitecustomize.py").write_text(AHEAD, encoding="utf-8")
    try:
        for name, script in HARM.items():
            node(name, script)
        done = subprocess.run(
            [site.command, "apply", "--yes"],
            cwd=site.root,
            env=site.environment | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert modes(node) == ["640", "640"]
    finally:
        for name, script in MEND.items():
            node(name, script)
    told = {name: "".join(line for line in done.stderr.splitlines() if f"{name}: Look" in line) for name in HARM}
    assert done.returncode == 1, done.stderr
    assert "Host, programs and runtime" not in done.stdout
    signs = {
        "w1": (
            "TCP port 7443 is held by python3",
            "/usr/local/bin: its filesystem is read-only: mount it writable",
            "/opt/cni/bin: 1 MiB are free and 16 are needed",
            "swap is on (/dev/sdz9): run swapoff -a",
            "lacks path:/proc/sys/kernel/seccomp: take a kernel that has it",
            "s behind the controller's: set both by NTP",
        ),
        "cp1": (
            "/var/log/kubernetes/audit: 4 MiB are free and 100 are needed: free some",
            "s behind the controller's: set both by NTP",
        ),
    }
    for name, parts in signs.items():
        assert [part for part in parts if part not in told[name]] == [], told[name]
        assert told[name].removesuffix(REMEDY).count("; ") == len(parts) - 1
    kharden("apply", "--yes")
    assert modes(node) == ["600", "600"]


# As where a cable was pulled, but that the other side is told: connections that are open end as well. The jump host is
# the only way to w1.
AWAY = """
nft -f - <<'END'
table inet away {
    chain input {
        type filter hook input priority -10
        ip saddr 10.82.0.5 tcp dport 2222 reject with tcp reset
    }
}
END
"""
BACK = "nft delete table inet away"


def test_one_that_cant_be_reached_stops_everything_before_any_change(kharden: Run, node: Node) -> None:
    spoil(node)
    node("w1", AWAY)
    try:
        refused = kharden("apply", "--yes", status=1)
        assert modes(node) == ["640", "640"]
    finally:
        node("w1", BACK)
    assert "w1: Look at the machine, change nothing: can't be reached: " in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert "Host, programs and runtime" not in refused.stdout


def test_one_that_goes_away_in_the_middle_leaves_the_rest_whole_and_the_next_run_goes_on(
    kharden: Run, start: Start, node: Node, tmp_path: Path
) -> None:
    spoil(node)
    log = tmp_path / "log"
    try:
        with log.open("w") as output:
            process = start("apply", "--yes", output=output)
            await_line(log, "Host, programs and runtime", process)
            node("w1", AWAY)
            assert process.wait(600) == 1
        assert node("cp1", f"{KUBECTL} get --raw=/readyz") == "ok"
    finally:
        node("w1", BACK)
    said = log.read_text(encoding="utf-8")
    assert "kharden: w1: " in said
    assert "mend that and apply again; it goes on where it stopped" in said
    kharden("apply", "--yes")
    assert modes(node) == ["600", "600"]
    assert "nothing to change" in kharden("plan").stdout


# --- what others do to a machine

# A package as an upgrade of one brings it: what it owns comes anew, and its script sets modes as it sees fit.
UPGRADE = """
mkdir -p /run/deb/DEBIAN /run/deb/etc/cni/net.d
cat > /run/deb/DEBIAN/control <<'END'
Package: kharden-fault
Version: 1
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: sets modes
END
printf '#!/bin/sh\\nchmod 0755 /etc/cni/net.d\\nchmod 0644 /etc/cni/net.d/* /etc/containerd/config.toml\\n' \\
    > /run/deb/DEBIAN/postinst
chmod 0755 /run/deb/DEBIAN/postinst
dpkg-deb --build /run/deb /run/fault.deb > /dev/null && dpkg --install /run/fault.deb > /dev/null
"""
UPGRADED = "stat --format=%a /etc/cni/net.d /etc/cni/net.d/10-kharden.conflist /etc/containerd/config.toml"


def test_what_a_packages_upgrade_undid_is_put_right(kharden: Run, node: Node) -> None:
    node("w1", UPGRADE)
    try:
        assert node("w1", UPGRADED) == "755\n644\n644\n"
        kharden("plan", status=2)
        kharden("apply", "--yes")
        assert node("w1", UPGRADED) == "700\n600\n600\n"
    finally:
        node("w1", "dpkg --purge kharden-fault > /dev/null 2>&1; rm -r /run/deb /run/fault.deb")
    assert "nothing to change" in kharden("plan").stdout
