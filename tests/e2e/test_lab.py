"""The lab for real: containers that boot, and a host that is afterwards as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kharden import lab as labs
from kharden.errors import MissingError, RefusedError, RemoteError
from kharden.lab import boot, cgroups, register, sysctls
from kharden.lab.machine import find_machine
from kharden.lab.places import REGISTER, node_folder, state_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kharden.plan.facts import LabFacts

pytestmark = pytest.mark.lab

SECONDS = 60.0
# Where a kubelet makes its groups: with v1 in each controller.
GROUP = "group=/sys/fs/cgroup/memory; test -d $group || group=/sys/fs/cgroup"


class Recorder:
    def __init__(self) -> None:
        self.started: list[str] = []
        self.items: dict[str, bool] = {}

    def start(self, item: str) -> None:
        self.started.append(item)

    def done(self, item: str, seconds: float, cached: bool) -> None:  # noqa: FBT001  # as the protocol has it
        assert seconds >= 0
        self.items[item] = cached


def a_lab(name: str, third: int, *nodes: str) -> labs.Lab:
    return labs.Lab(
        name,
        IPv4Network(f"10.{third}.0.0/24"),
        tuple(labs.LabNode(node, IPv4Address(f"10.{third}.0.{11 + at}")) for at, node in enumerate(nodes)),
    )


ONE = a_lab("e2e-one", 78, "cp1", "w1")
OTHER = a_lab("e2e-other", 79, "cp1")


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A folder on a disk: /tmp is memory on many machines (Debian 13), too small for nodes."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module", autouse=True)
def _machine(disk: Path) -> Iterator[None]:
    """State in a folder of the tests' own; the base tree from the usual cache, since it takes a minute to make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(disk / "state"))
        try:
            labs.check(ONE)
        except MissingError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(str(error))
            pytest.skip(str(error))
        try:
            yield
        finally:
            for name in (ONE.name, OTHER.name):
                labs.down(name, Recorder())


@pytest.fixture(scope="module")
def facts(_machine: None) -> LabFacts:
    return labs.up(ONE, Recorder())


def shell_output(capfd: pytest.CaptureFixture[str], node: str, command: str) -> str:
    capfd.readouterr()
    assert labs.shell(ONE.name, node, command) == 0
    return capfd.readouterr().out.strip()


def snapshot() -> dict[str, object]:
    """What of the host a lab could leave traces in; what other labs do meanwhile is theirs."""
    alone = not any(REGISTER.glob("*.lab"))
    routes = subprocess.run(["ip", "route", "show", "table", "all"], capture_output=True, text=True, check=True).stdout
    return {
        "alone": alone,
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "links": sorted(path.name for path in Path("/sys/class/net").iterdir() if not is_foreign(path.name)),
        "routes": [line for line in routes.splitlines() if not is_foreign(line)],
        "groups": sorted(
            folder
            for hierarchy in cgroups.host_hierarchies()
            for folder, _, _ in os.walk(hierarchy.mount_point)
            if "/kharden-" not in folder or "kharden-e2e-" in folder
        ),
        "run": sorted(str(path) for path in Path("/run").rglob("*")),
        "sysctls": sysctls.read_all(),
        "processes": sorted(arguments for arguments in processes() if "e2e-" in arguments),
        "state": sorted(state_folder("x").parent.glob("*")),
        "tables": subprocess.run(["nft", "list", "tables"], capture_output=True, check=False).stdout
        if Path("/usr/sbin/nft").exists()
        else None,
    }


def is_foreign(name: str) -> bool:
    """Whether this is an interface of another lab, or a route by one."""
    return ("kh-" in name or "vb-" in name) and "e2e-" not in name


def expect_untouched(before: dict[str, object]) -> None:
    """The kernel takes a moment to let go of a network namespace and its interfaces."""
    deadline = time.monotonic() + 5
    while (now := snapshot()) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    alone = before["alone"] and now["alone"]
    for what, value in before.items():
        # Another lab that comes or goes meanwhile changes these two.
        if alone or what not in {"alone", "run", "sysctls"}:
            assert now[what] == value, what


def processes() -> Iterator[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if int(folder.name) != os.getpid():
            yield arguments


def test_up_again_does_nothing(facts: LabFacts) -> None:
    before = labs.status(ONE.name)
    again = Recorder()
    assert labs.up(ONE, again) == facts
    assert again.items == {"base tree trixie": True, "node cp1": True, "node w1": True}
    assert labs.status(ONE.name) == before
    assert labs.host_changes(ONE) == ()


def test_status_shows_nodes_that_run(facts: LabFacts) -> None:
    assert set(facts.host_keys) == {"cp1", "w1"}
    nodes = labs.status(ONE.name).nodes
    assert [(node.name, str(node.address), node.state) for node in nodes] == [
        ("cp1", "10.78.0.11", "running"),
        ("w1", "10.78.0.12", "running"),
    ]
    assert all(node.pid and node.since and abs(time.time() - node.since.timestamp()) < 600 for node in nodes)
    assert ONE.name in labs.labs()


def ssh(facts: LabFacts, known: Path, command: str) -> subprocess.CompletedProcess[str]:
    options = ("BatchMode=yes", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null", "ConnectTimeout=5")
    flags = [part for option in (*options, f"UserKnownHostsFile={known}") for part in ("-o", option)]
    arguments = ["ssh", "-F", "none", "-i", str(facts.ssh_key), *flags, "root@10.78.0.11", command]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def test_ssh_with_the_pinned_host_key_and_with_no_other(facts: LabFacts, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"10.78.0.11 {facts.host_keys['cp1'][0]}\n")
    assert ssh(facts, known, "hostname").stdout == "cp1\n"
    known.write_text(f"10.78.0.11 {facts.host_keys['w1'][0]}\n")
    refused = ssh(facts, known, "hostname")
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


def test_nodes_reach_each_other_by_name(facts: LabFacts, capfd: pytest.CaptureFixture[str]) -> None:
    assert set(facts.host_keys) == {"cp1", "w1"}
    # The greeting of the other node's sshd, by bash's own sockets: no further program is needed in a node.
    greeting = "exec 3<>/dev/tcp/{}/22 && read -r line <&3 && echo $line"
    assert shell_output(capfd, "cp1", greeting.format("w1")).startswith("SSH-2.0")
    assert shell_output(capfd, "w1", greeting.format("cp1")).startswith("SSH-2.0")


@pytest.mark.usefixtures("facts")
def test_a_name_that_nobody_knows_fails_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    assert labs.shell(ONE.name, "cp1", "getent hosts nowhere.example") == 2
    assert time.monotonic() - begun < 1
    assert shell_output(capfd, "cp1", "cat /etc/resolv.conf").startswith("nameserver 10.78.0.1")


@pytest.mark.usefixtures("facts")
def test_shell_is_a_login_of_root_and_gives_the_exit_status(capfd: pytest.CaptureFixture[str]) -> None:
    assert labs.shell(ONE.name, "w1", "exit 7") == 7
    assert shell_output(capfd, "w1", "whoami; pwd; hostname; echo $HOME; cat /proc/1/comm").split() == [
        *("root", "/root", "w1", "/root", "systemd")
    ]


@pytest.mark.usefixtures("facts")
def test_a_node_is_whole(capfd: pytest.CaptureFixture[str]) -> None:
    assert shell_output(capfd, "cp1", "systemctl is-system-running") == "running"
    # What kubelet and containerd need: groups of their own, shared mounts, plain folders, sysctls, the kernel's log.
    assert labs.shell(ONE.name, "cp1", f"{GROUP}; mkdir $group/here") == 0
    assert shell_output(capfd, "cp1", "findmnt -no PROPAGATION /") == "shared"
    for name in ("containerd", "kubelet", "etcd"):
        assert shell_output(capfd, "cp1", f"findmnt -no FSTYPE /var/lib/{name}") != "overlay"
    assert labs.shell(ONE.name, "cp1", "sysctl -qw net.ipv4.ip_forward=1 && head -c0 /dev/kmsg") == 0
    assert shell_output(capfd, "cp1", "cat /etc/machine-id") != shell_output(capfd, "w1", "cat /etc/machine-id")


@pytest.mark.usefixtures("facts")
def test_nodes_have_groups_of_their_own() -> None:
    assert labs.shell(ONE.name, "cp1", f"{GROUP}; mkdir $group/kubepods") == 0
    assert labs.shell(ONE.name, "cp1", f"{GROUP}; test -d $group/kubepods") == 0
    assert labs.shell(ONE.name, "w1", f"{GROUP}; test -d $group/kubepods") == 1


@pytest.mark.usefixtures("facts")
def test_a_node_that_reboots_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    machine = find_machine(ONE.name, "cp1")
    assert machine is not None
    shell_output(capfd, "cp1", "echo kept > /root/mark; systemctl reboot")

    def rebooted() -> bool:
        now = find_machine(ONE.name, "cp1")
        return now is not None and now.leader not in {None, machine.leader}

    wait_until(rebooted, "cp1 has another process 1")
    boot.wait_ready(ONE, ONE.nodes[0])
    assert shell_output(capfd, "cp1", "cat /root/mark; systemctl is-system-running").split() == ["kept", "running"]


@pytest.mark.usefixtures("facts")
def test_a_node_that_was_powered_off_keeps_its_disk(capfd: pytest.CaptureFixture[str]) -> None:
    shell_output(capfd, "w1", "echo kept > /root/mark; systemctl poweroff")
    wait_until(lambda: find_machine(ONE.name, "w1") is None, "w1 is off")
    assert [node.state for node in labs.status(ONE.name).nodes] == ["running", "stopped"]
    with pytest.raises(RefusedError, match="w1 does not run"):
        labs.shell(ONE.name, "w1", "true")
    again = Recorder()
    labs.up(ONE, again)
    assert again.items["node w1"] is False
    assert shell_output(capfd, "w1", "cat /root/mark") == "kept"


@pytest.mark.usefixtures("facts")
def test_a_further_node_joins_and_is_known_to_all(capfd: pytest.CaptureFixture[str]) -> None:
    larger = a_lab(ONE.name, 78, "cp1", "w1", "w2")
    facts = labs.up(larger, Recorder())
    assert "w2" in facts.host_keys
    assert shell_output(capfd, "cp1", "getent hosts w2").split() == ["10.78.0.13", "w2"]
    with pytest.raises(RefusedError, match="it is there with w2, which nothing names any more"):
        labs.up(ONE, Recorder())


@pytest.mark.usefixtures("facts")
def test_what_is_up_is_not_changed_under_its_nodes() -> None:
    with pytest.raises(RefusedError, match="it is there with"):
        labs.up(a_lab(ONE.name, 80, "cp1", "w1", "w2"), Recorder())


@pytest.mark.usefixtures("facts")
def test_two_labs_side_by_side_know_nothing_of_each_other(capfd: pytest.CaptureFixture[str]) -> None:
    overlapping = labs.Lab("e2e-other", IPv4Network("10.78.0.128/25"), ())
    with pytest.raises(RefusedError, match="overlaps"):
        labs.up(overlapping, Recorder())
    labs.up(OTHER, Recorder())
    assert labs.shell(OTHER.name, "cp1", "true") == 0
    assert (
        shell_output(capfd, "cp1", "cat /etc/machine-id")
        != (node_folder(OTHER.name, "cp1") / "upper/etc/machine-id").read_text()
    )
    labs.down(OTHER.name, Recorder())
    assert labs.status(OTHER.name).nodes == ()
    assert labs.shell(ONE.name, "cp1", "true") == 0


@pytest.mark.usefixtures("facts")
def test_a_node_that_dies_while_starting_is_named_with_its_last_words() -> None:
    labs.down(OTHER.name, Recorder())
    labs.up(OTHER, Recorder())
    assert labs.shell(OTHER.name, "cp1", "systemctl poweroff") == 0
    wait_until(lambda: find_machine(OTHER.name, "cp1") is None, "cp1 is off")
    init = node_folder(OTHER.name, "cp1") / "upper/usr/lib/systemd/systemd"
    init.parent.mkdir(parents=True, exist_ok=True)
    init.write_text("#!/bin/sh\necho the disk is on fire\nexit 1\n")
    init.chmod(0o755)
    with pytest.raises(RemoteError, match="node cp1 died while starting") as raised:
        labs.up(OTHER, Recorder())
    assert "console.log" in str(raised.value)
    assert any("the disk is on fire" in line for line in raised.value.details)
    labs.down(OTHER.name, Recorder())


def test_down_leaves_no_trace() -> None:
    labs.down(ONE.name, Recorder())
    before = snapshot()
    labs.up(ONE, Recorder())
    assert labs.shell(ONE.name, "cp1", "sysctl -qw kernel.panic=10 vm.overcommit_memory=1; nft add table inet x") == 0
    assert snapshot() != before
    assert labs.down(ONE.name, Recorder()) == ()
    expect_untouched(before)
    labs.down(ONE.name, Recorder())
    expect_untouched(before)


UP = """
import sys
from ipaddress import IPv4Address, IPv4Network
from kharden.lab import Lab, LabNode, up

class Silent:
    def start(self, item): pass
    def done(self, item, seconds, cached): pass

name, subnet, *parts = sys.argv[1:]
nodes = [LabNode(*node) for node in zip(parts[::2], map(IPv4Address, parts[1::2]))]
up(Lab(name, IPv4Network(subnet), tuple(nodes)), Silent())
"""


def interrupted_up(cache: Path | None, halfway: Callable[[], object]) -> None:
    nodes = [(node.name, str(node.address)) for node in ONE.nodes]
    run = subprocess.Popen(
        [sys.executable, "-c", UP, ONE.name, str(ONE.subnet), *(part for node in nodes for part in node)],
        env={**os.environ, **({"KHARDEN_CACHE": str(cache)} if cache else {})},
        start_new_session=True,
    )
    try:
        wait_until(lambda: halfway() or run.poll() is not None, "up is halfway")
        assert run.poll() is None
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()


def test_killed_while_nodes_boot_down_still_cleans_up() -> None:
    labs.down(ONE.name, Recorder())
    before = snapshot()
    interrupted_up(None, lambda: find_machine(ONE.name, "w1"))
    assert find_machine(ONE.name, "cp1") is not None
    labs.down(ONE.name, Recorder())
    expect_untouched(before)


def test_killed_while_the_tree_is_made_nothing_goes_on_behind_its_back(disk: Path) -> None:
    labs.down(ONE.name, Recorder())
    before = snapshot()
    mark = str(disk / "cache/trees/.building-")
    interrupted_up(disk / "cache", lambda: any("debootstrap" in line and mark in line for line in processes()))
    wait_until(lambda: not any(mark in line for line in processes()), "debootstrap has ended too")
    labs.down(ONE.name, Recorder())
    expect_untouched(before)


def test_a_supervisor_that_was_killed_leaves_a_lab_that_can_be_taken_down() -> None:
    labs.down(ONE.name, Recorder())
    before = snapshot()
    labs.up(ONE, Recorder())
    machine = find_machine(ONE.name, "cp1")
    assert machine is not None
    assert machine.supervisor is not None
    os.kill(machine.supervisor, signal.SIGKILL)
    wait_until(lambda: find_machine(ONE.name, "cp1") is None, "cp1 has ended")
    # A node without its supervisor would use its disk unseen.
    assert not Path(f"/proc/{machine.leader}/root/etc").exists()
    assert [node.state for node in labs.status(ONE.name).nodes] == ["stopped", "running"]
    (state_folder(ONE.name) / "lab.json").write_text("damaged")
    labs.down(ONE.name, Recorder())
    expect_untouched(before)


def test_only_one_run_at_a_time() -> None:
    with register.only_run(OTHER.name):
        for run in (lambda: labs.up(OTHER, Recorder()), lambda: labs.down(OTHER.name, Recorder())):
            with pytest.raises(RefusedError, match="another run is at it"):
                run()
    register.tidy(OTHER.name)
