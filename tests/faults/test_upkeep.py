"""What a machine keeps: files on a disk that fails, tables of others, the way in, and itself after a reboot."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from kharden.lab.machine import find_machine
from tests.faults.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.conftest import Node, Run, Site

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
    assert "nobody came in anew within 60 s, so the change was taken back" in refused.stderr
    for name, rules in before.items():
        wait_for(lambda name=name, rules=rules: node(name, IN_FORCE) == rules, f"{name} has its rules again", 90)  # type: ignore[misc]
    assert time.monotonic() - ended < 90
    assert {name: node(name, LOADED) for name in NODES} == before
    kharden("render")
    kharden("apply", "--yes")
    assert "nothing to change" in kharden("plan").stdout


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

AFTER_BOOT = """
systemctl is-system-running --wait > /dev/null || true
systemctl is-active kharden-firewall kharden-routes containerd haproxy kubelet ssh
sysctl --values net.ipv4.ip_forward net.ipv4.conf.all.accept_redirects
test -d /sys/module/overlay && echo overlay
nft --stateless list table inet kharden
"""


def test_after_a_reboot_everything_is_back(site: Site, kharden: Run, node: Node) -> None:
    before = {name: node(name, AFTER_BOOT) for name in NODES}
    leaders = {name: leader(site, name) for name in NODES}
    for name in NODES:
        assert before[name].count("active\n") == 6
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
