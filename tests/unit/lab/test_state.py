from __future__ import annotations

import os
import re
import shutil
import stat
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest

from kharden.errors import InputError, IntegrityError, MissingError, RefusedError
from kharden.lab import disk, facts, keys, lifecycle, places, record
from kharden.lab.locks import locked
from kharden.lab.model import Lab, LabNode
from kharden.lab.programs import ProgramError, environment, last_line, run, run_logged
from kharden.lab.tree import Tree

LAB = Lab(
    "devlab",
    IPv4Network("10.78.0.0/24"),
    (LabNode("cp1", IPv4Address("10.78.0.11")), LabNode("w1", IPv4Address("10.78.0.21"))),
)


TWO = Lab(
    "devlab",
    IPv4Network("10.78.0.0/24"),
    (
        LabNode("cp1", IPv4Address("10.78.0.11"), second_address=IPv6Address("fd00:78::11")),
        LabNode("gate", IPv4Address("10.78.0.5"), sudo=False),
    ),
    second_subnet=IPv6Network("fd00:78::/64"),
)
SIX = Lab("devlab", IPv6Network("fd00:78::/64"), (LabNode("cp1", IPv6Address("fd00:78::11")),))


class Silent:
    def start(self, item: str) -> None:
        pass

    def done(self, item: str, seconds: float, cached: bool) -> None:  # noqa: FBT001  # as the protocol has it
        pass


# Where things lie


def test_folders_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.state_folder("x") == tmp_path / "state/kharden/lab/x"
    assert places.trees_folder() == tmp_path / "cache/trees"
    monkeypatch.delenv("KHARDEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert places.trees_folder() == tmp_path / "xdg/kharden/trees"


def test_relative_folders_in_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert places.state_folder("x") == Path.home() / ".local/state/kharden/lab/x"


# Programs


def test_a_failing_program_is_one_line_with_its_last_words() -> None:
    with pytest.raises(ProgramError, match=r"^trying: ls: .*nowhere"):
        run(["ls", "/nowhere"], what="trying")


def test_a_missing_program_is_named() -> None:
    with pytest.raises(MissingError, match="no kharden-nothing"):
        run(["kharden-nothing"], what="trying")


def test_a_log_keeps_all_and_the_error_quotes_the_end_of_this_run(tmp_path: Path) -> None:
    log = tmp_path / "logs/apt.log"
    run_logged(["echo", "of before"], what="trying", log=log)
    with pytest.raises(ProgramError, match="trying: exit status 1") as raised:
        run_logged(["false"], what="trying", log=log)
    assert str(log) in str(raised.value)
    assert log.read_text() == "of before\n"


def test_programs_get_nothing_of_the_callers_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KHARDEN_TOKEN", "hunter2")
    assert "hunter2" not in environment().values()


def test_last_line_skips_blank_ones() -> None:
    assert last_line("a\nb\n\n \n") == "b"
    assert last_line("") == ""


# Keys and facts


def test_prepare_makes_keys_once_and_reports_them() -> None:
    first = lifecycle.prepare(LAB)
    assert lifecycle.prepare(LAB) == first
    assert set(first.host_keys) == {"cp1", "w1"}
    assert first.host_keys["cp1"] != first.host_keys["w1"]
    assert all(key.startswith("ssh-ed25519 ") and len(key.split()) == 2 for (key,) in first.host_keys.values())
    assert stat.S_IMODE(first.ssh_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(places.state_folder("devlab").stat().st_mode) == 0o700


def test_half_a_key_pair_is_made_whole() -> None:
    facts_before = lifecycle.prepare(LAB)
    facts_before.ssh_key.with_suffix(".pub").unlink()
    lifecycle.prepare(LAB)
    assert keys.public_key(facts_before.ssh_key).startswith("ssh-ed25519 ")


@pytest.mark.parametrize(
    ("bounding", "expected"), [("000001ffffffffff", True), ("000001fffeffffff", False), ("0000000001000000", True)]
)
def test_cap_sys_resource_is_bit_24_of_the_bounding_set(bounding: str, expected: bool) -> None:  # noqa: FBT001  # a case
    assert facts.has_capability(f"Name:\tx\nCapBnd:\t{bounding}\n", 24) is expected


# The record


@pytest.mark.parametrize("lab", [LAB, TWO, SIX])
def test_a_record_comes_back_as_it_was(lab: Lab) -> None:
    assert record.read_record("devlab") is None
    record.write_record(lab)
    assert record.read_record("devlab") == lab
    assert record.recorded_names() == ("devlab",)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "devlab"}', '{"nodes": {"cp1": "x"}}'])
def test_a_damaged_record_is_named(content: str) -> None:
    record.write_record(LAB)
    path = places.state_folder("devlab") / "lab.json"
    path.write_text(content)
    with pytest.raises(IntegrityError, match=r"lab\.json: this record is damaged"):
        record.read_record("devlab")


def test_status_tells_absent_from_stopped() -> None:
    record.write_record(LAB)
    (places.node_folder("devlab", "w1") / "upper").mkdir(parents=True)
    assert [(node.name, node.state) for node in lifecycle.status("devlab").nodes] == [
        ("cp1", "absent"),
        ("w1", "stopped"),
    ]
    assert lifecycle.status("other").nodes == ()


@pytest.mark.parametrize("name", ["..", "../../x", "", "a/b", "A"])
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_removed(name: str) -> None:
    for command in (lambda: lifecycle.status(name), lambda: lifecycle.shell(name, "cp1", "true")):
        with pytest.raises(InputError, match="can't be the name"):
            command()
    with pytest.raises(InputError, match="can't be the name"):
        lifecycle.down(name, Silent())


def test_shell_names_the_nodes_that_there_are() -> None:
    record.write_record(LAB)
    with pytest.raises(InputError, match="no node w9: its nodes are cp1, w1"):
        lifecycle.shell("devlab", "w9", "true")
    with pytest.raises(RefusedError, match="cp1 does not run"):
        lifecycle.shell("devlab", "cp1", "true")


# A node's disk


def test_a_disk_is_this_nodes_own_and_survives(tmp_path: Path) -> None:
    lifecycle.prepare(LAB)
    base = tmp_path / "trees/trixie-1/root"
    (base / "etc/ssh").mkdir(parents=True)
    (base / "root").mkdir(mode=0o700)
    disk.make_disk(LAB, LAB.nodes[0], Tree(base))
    upper = places.node_folder("devlab", "cp1") / "upper"
    assert (upper / "etc/hostname").read_text() == "cp1\n"
    assert stat.S_IMODE((upper / "root").stat().st_mode) == 0o700
    assert stat.S_IMODE((upper / "etc").stat().st_mode) == 0o755
    assert stat.S_IMODE((upper / "etc/ssh/ssh_host_ed25519_key").stat().st_mode) == 0o600
    machine_id = (upper / "etc/machine-id").read_text()
    (upper / "etc/hostname").write_text("changed by the cluster's owner\n")
    disk.make_disk(LAB, LAB.nodes[0], Tree(base))
    assert (upper / "etc/machine-id").read_text() == machine_id
    assert (upper / "etc/hostname").read_text() == "changed by the cluster's owner\n"
    with pytest.raises(RefusedError, match="older base tree"):
        disk.make_disk(LAB, LAB.nodes[0], Tree(tmp_path / "trees/trixie-2/root"))


def test_a_node_of_one_family_has_what_the_tree_has_and_others_their_own_commands(tmp_path: Path) -> None:
    lifecycle.prepare(LAB)
    base = tmp_path / "trees/trixie-1/root"
    (base / "etc/ssh").mkdir(parents=True)
    upper = places.node_folder("devlab", "cp1") / "upper"
    disk.make_disk(LAB, LAB.nodes[0], Tree(base))
    assert not (upper / "etc/systemd").exists()
    shutil.rmtree(upper.parent)
    lifecycle.prepare(TWO)
    disk.make_disk(TWO, TWO.nodes[0], Tree(base))
    (drop_in,) = (upper / "etc/systemd/system/kharden-lab-network.service.d").iterdir()
    assert (
        drop_in.read_text()
        == """\
[Service]
ExecStart=
ExecStart=ip link set lo up
ExecStart=ip link set host0 up
ExecStart=ip address replace 10.78.0.11/24 dev host0
ExecStart=ip -4 route replace default via 10.78.0.1
ExecStart=ip address replace fd00:78::11/64 dev host0 nodad
ExecStart=ip -6 route replace default via fd00:78::1
"""
    )


def test_names_and_the_resolver_are_of_both_families() -> None:
    assert disk.hosts_file(TWO).splitlines()[2:] == ["10.78.0.11 cp1", "fd00:78::11 cp1", "10.78.0.5 gate"]
    assert disk.resolver_file(TWO).startswith("nameserver 10.78.0.1\nnameserver fd00:78::1\n")
    assert disk.resolver_file(SIX).startswith("nameserver fd00:78::1\noptions")


def test_a_node_learns_of_nodes_that_come_later(tmp_path: Path) -> None:
    path = tmp_path / "etc/hosts"
    path.parent.mkdir()
    path.write_text(disk.hosts_file(LAB) + "10.9.9.9 added-by-hand\n")
    disk.update_hosts(LAB, tmp_path)
    assert "added-by-hand" in path.read_text()
    disk.update_hosts(Lab(LAB.name, LAB.subnet, (*LAB.nodes, LabNode("w2", IPv4Address("10.78.0.22")))), tmp_path)
    assert "10.78.0.22 w2\n" in path.read_text()


# Locks


def test_the_second_run_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "devlab.lock"
    with (
        locked(lock, wait=False),
        pytest.raises(RefusedError, match=rf"another run is at it \(process {os.getpid()}\)"),
        locked(lock, wait=False),
    ):
        pass
    with locked(lock, wait=False):
        pass


def test_what_is_there_is_said_in_full_where_it_is_another_lab() -> None:
    record.write_record(LAB)
    for node in LAB.nodes:
        places.node_folder(LAB.name, node.name).joinpath("upper").mkdir(parents=True)
    lifecycle._check_recorded(LAB)  # noqa: SLF001  # all else of bringing a lab up needs root
    other = Lab(LAB.name, IPv4Network("10.79.0.0/24"), (LabNode("cp1", IPv4Address("10.79.0.11")),))
    said = (
        "it is there with w1, which nothing names any more; another address, user, port or Debian of cp1; 10.78.0.0/24"
    )
    with pytest.raises(RefusedError, match=re.escape(said)):
        lifecycle._check_recorded(other)  # noqa: SLF001
