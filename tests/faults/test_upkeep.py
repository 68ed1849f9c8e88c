"""What a machine keeps: files on a disk that fails, tables of others, the way in, and itself after a reboot."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from kharden.lab.machine import find_machine
from tests.faults.waiting import helpers, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.conftest import Node, Run, Site, Start

pytestmark = [pytest.mark.lab, pytest.mark.programs]

NODES = ("cp1", "w1")
KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"

# --- while files are written

BALANCER = "/etc/haproxy/haproxy.cfg"
ON_ITS_OWN = """
mkdir /run/own && cp --archive /etc/haproxy/. /run/own/
mount -t tmpfs -o size=256k none /etc/haproxy
cp --archive /run/own/. /etc/haproxy/ && echo '# mine' >> {0} && sha256sum < {0}
"""
# How it is made so, what that is called, and a look whether it is still so afterwards.
WRITING = {
    "full": (
        "dd if=/dev/zero of=/etc/haproxy/zero bs=4k 2> /dev/null || true",
        "No space left on device",
        ("stat --file-system --format=%a /etc/haproxy", "0\n"),
    ),
    "read-only": (
        "mount -o remount,ro /etc/haproxy",
        "Read-only file system",
        ("findmnt --noheadings --output OPTIONS /etc/haproxy | cut --delimiter=, --fields=1", "ro\n"),
    ),
}


@pytest.mark.parametrize("kind", WRITING)
def test_a_disk_that_cant_be_written_leaves_the_old_file_whole(kharden: Run, node: Node, kind: str) -> None:
    script, sign, (look, found) = WRITING[kind]
    before = node("w1", ON_ITS_OWN.format(BALANCER))
    try:
        assert node("w1", look) != found
        node("w1", script)
        assert node("w1", look) == found
        refused = kharden("apply", "--yes", status=1)
        assert node("w1", f"sha256sum < {BALANCER}") == before
        assert node("w1", look) == found
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


# --- a change that shuts everybody out

# The program, with a plan that forgets what lets people in.
FORGETFUL = """
import sys
from kharden.cli import main
from kharden.render import firewall
openings = firewall.openings
firewall.openings = lambda plan, node: tuple(one for one in openings(plan, node) if one.places != ("ssh",))
sys.argv[0] = "kharden"
main()
"""
IN_FORCE = "nft --stateless list table inet kharden"
LOADED = f"nft --file /etc/nftables.d/kharden.nft && {IN_FORCE}"  # what a reboot brings


@pytest.fixture
def rules_without_ssh(site: Site, kharden: Run, node: Node) -> Iterator[None]:
    """A build whose firewall lets nobody in."""
    assert "dport 2222" in node("w1", IN_FORCE)
    argv = [sys.executable, "-c", FORGETFUL, "render"]
    subprocess.run(argv, cwd=site.root, env=site.environment, check=True, capture_output=True, timeout=300)
    yield
    kharden("render")


@pytest.mark.usefixtures("rules_without_ssh")
def test_rules_that_shut_everybody_out_are_taken_back_within_a_minute(kharden: Run, node: Node) -> None:
    before = {name: node(name, IN_FORCE) for name in NODES}
    refused = kharden("apply", "--yes", status=1)
    ended = time.monotonic()
    assert LOST in refused.stderr
    for name, rules in before.items():
        wait_for(lambda name=name, rules=rules: node(name, IN_FORCE) == rules, f"{name} has its rules again", 90)  # type: ignore[misc]
    assert time.monotonic() - ended < 90
    assert {name: node(name, LOADED) for name in NODES} == before
    kharden("render")
    kharden("apply", "--yes")
    assert "nothing to change" in kharden("plan").stdout


# --- settings of sshd that shut everybody out

# The program, with settings that admit a user whom nobody is.
HOSTILE = """
import sys
from dataclasses import replace
from kharden.cli import main
from kharden.render import host
sshd = host._sshd
host._sshd = lambda node: replace(sshd(node), source=sshd(node).source + b"AllowUsers nobody\\n")
sys.argv[0] = "kharden"
main()
"""
SETTINGS = "/etc/ssh/sshd_config.d/00-kharden.conf"
OF_SSHD = (
    f"/usr/sbin/sshd -T | sort; sha256sum {SETTINGS}; stat --format='%a %U' {SETTINGS}; ls -A /etc/ssh/sshd_config.d"
)
REFUSED = """
journalctl --sync
journalctl --unit=ssh --boot --output=cat | grep --count 'not allowed because not listed in AllowUsers' || true
"""
LOST = "Say that it was taken back: with the new firewall or sshd settings nobody got in, so they were taken back: "


@pytest.fixture
def settings_without_users(site: Site, kharden: Run, node: Node) -> Iterator[dict[str, str]]:
    """A build with which sshd lets nobody in; before it the nodes' own settings, by which people do get in."""
    before = {name: node(name, OF_SSHD) for name in NODES}
    assert all("passwordauthentication no\n" in shown and "allowusers" not in shown for shown in before.values())
    argv = [sys.executable, "-c", HOSTILE, "render"]
    subprocess.run(argv, cwd=site.root, env=site.environment, check=True, capture_output=True, timeout=300)
    yield before
    kharden("render")
    kharden("apply", "--yes", "--break-lock")
    assert "nothing to change" in kharden("plan").stdout
    assert {name: node(name, OF_SSHD) for name in NODES} == before


def test_settings_of_sshd_that_shut_everybody_out_make_way_for_those_that_let_people_in(
    kharden: Run, node: Node, settings_without_users: dict[str, str]
) -> None:
    refusals = {name: int(node(name, REFUSED)) for name in NODES}
    (line,) = kharden("apply", "--yes", status=1).stderr.splitlines()
    assert line.startswith(f"kharden: cp1: {LOST}"), line
    assert node("cp1", OF_SSHD) == settings_without_users["cp1"]
    assert int(node("cp1", REFUSED)) > refusals["cp1"]  # they were in force
    assert int(node("w1", REFUSED)) == refusals["w1"]  # whose turn comes after cp1's
    # Those who come are let in, and the settings are still to be changed.
    assert f"update {SETTINGS}" in kharden("plan", status=2).stdout


def killed(site: Site) -> list[int]:
    """Ansible's and ssh's processes that worked for this site until now."""
    found = list(helpers(site))
    for number in found:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    return found


@pytest.mark.long
def test_settings_of_sshd_that_shut_everybody_out_are_taken_back_without_a_controller(
    site: Site, start: Start, node: Node, settings_without_users: dict[str, str], tmp_path: Path
) -> None:
    refusals = int(node("cp1", REFUSED))
    with (tmp_path / "log").open("w") as output:
        process = start("apply", "--yes", output=output)
        wait_for(lambda: int(node("cp1", REFUSED)) > refusals, "somebody is refused", 300)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        wait_for(lambda: not killed(site), "the end of all that worked for it", 60)
    assert node("cp1", "systemctl is-active kharden-way-back.timer; /usr/sbin/sshd -T | grep allowusers") == (
        "active\nallowusers nobody\n"
    )
    wait_for(lambda: node("cp1", OF_SSHD) == settings_without_users["cp1"], "cp1 has its settings again", 90)


# --- a kubelet

DOWN = """
systemctl stop kubelet
echo broken > /var/lib/kubelet/config.yaml
sed --in-place s/--profiling=false/--profiling=true/ /etc/kubernetes/manifests/kube-scheduler.yaml
pkill --exact kube-scheduler
while pgrep --exact kube-scheduler > /dev/null; do sleep 0.1; done
"""


def test_a_kubelet_that_is_down_with_its_pods_is_brought_back(kharden: Run, node: Node) -> None:
    node("cp1", DOWN)
    said = kharden("apply", "--yes").stdout
    assert "cp1: Settings of the kubelet: changed" in said
    assert "cp1: Static pods of the control plane: changed" in said
    assert node("cp1", "pgrep --exact kube-scheduler") != ""  # nobody waited but apply
    assert "nothing to change" in kharden("plan").stdout


# --- a reboot

# Kernel settings are told beside what a new network has by itself: a boot would bring those.
AFTER_BOOT = """
systemctl is-system-running --wait > /dev/null || true
systemctl is-active kharden-firewall kharden-routes containerd haproxy kubelet ssh
for name in $(sed --quiet 's/^-\\{0,1\\}\\(net[.]ipv[46][^*]*\\) = .*/\\1/p' /etc/sysctl.d/90-kharden.conf); do
    echo "$name $(unshare --net sysctl --values $name) $(sysctl --values $name)"
done
ip route show proto 107
nft --stateless list table inet kharden
"""
SET_BY_US = re.compile(r"^net[.]\S+ (\d+) (?!\1$)\d+$", re.MULTILINE)


def test_after_a_reboot_everything_is_back(site: Site, kharden: Run, node: Node) -> None:
    before = {name: node(name, AFTER_BOOT) for name in NODES}
    leaders = {name: leader(site, name) for name in NODES}
    for name in NODES:
        assert before[name].count("active\n") == 6
        assert SET_BY_US.search(before[name])
        assert " via 10.82.0." in before[name]
        node(name, "systemctl --no-block reboot")
    for name in NODES:
        wait_for(lambda name=name: leader(site, name) not in {None, leaders[name]}, f"{name} boots", 120)  # type: ignore[misc]
    kharden("lab.up", "--yes")  # waits until they have booted
    assert {name: node(name, AFTER_BOOT) for name in NODES} == before
    ready = f"{KUBECTL} wait --for=condition=Ready node/cp1 node/w1 --timeout=5s > /dev/null 2>&1 && echo ready || true"
    wait_for(lambda: node("cp1", ready) == "ready\n", "both nodes are ready", 300)
    assert "nothing to change" in kharden("apply", "--yes").stdout


def leader(site: Site, name: str) -> int | None:
    machine = find_machine(site.cluster, name)
    return machine.leader if machine else None
