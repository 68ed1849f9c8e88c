from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from kharden.errors import MissingError, RefusedError
from kharden.lab import changes, network, requirements, sysctls
from kharden.lab.model import Lab, LabNode

LAB = Lab(
    "devlab",
    IPv4Network("10.78.0.0/24"),
    (LabNode("cp1", IPv4Address("10.78.0.11")), LabNode("w1", IPv4Address("10.78.0.21"))),
)


# Subnets


def test_a_subnet_of_another_lab_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "host_routes", tuple)
    other = IPv4Network("10.78.0.128/25")
    with pytest.raises(RefusedError, match=r"overlaps 10\.78\.0\.128/25 of the lab other"):
        network.check_subnet(LAB, [("other", other)])
    network.check_subnet(LAB, [("devlab", other), ("third", IPv4Network("10.79.0.0/24"))])


def test_a_route_of_the_host_is_refused_but_its_own_bridge_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "host_routes", lambda: (("tun0", IPv4Network("10.0.0.0/8")),))
    with pytest.raises(RefusedError, match=r"route to 10\.0\.0\.0/8 by tun0"):
        network.check_subnet(LAB, [])
    monkeypatch.setattr(network, "host_routes", lambda: (("kh-devlab", LAB.subnet),))
    network.check_subnet(LAB, [])


def test_a_name_taken_by_an_interface_that_is_no_bridge_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(network, "host_routes", tuple)
    monkeypatch.setattr(network, "_LINKS", tmp_path)
    (tmp_path / "kh-devlab").mkdir()
    with pytest.raises(RefusedError, match="not the lab's bridge"):
        network.check_subnet(LAB, [])


def test_a_subnet_of_the_other_family_is_looked_at_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab("devlab", LAB.subnet, LAB.nodes, second_subnet=IPv6Network("fd00:78::/64"))
    monkeypatch.setattr(network, "host_routes", lambda: (("tun0", IPv6Network("fd00::/16")),))
    with pytest.raises(RefusedError, match=r"fd00:78::/64 overlaps the route to fd00::/16 by tun0"):
        network.check_subnet(lab, [])
    network.check_subnet(LAB, [("other", IPv6Network("fd00:78::/64"))])
    with pytest.raises(RefusedError, match=r"overlaps fd00:78::/48 of the lab other"):
        network.check_subnet(lab, [("other", IPv6Network("fd00:78::/48"))])


def test_the_hosts_routes_are_of_both_families() -> None:
    families = {route.version for _, route in network.host_routes()}
    assert families == ({4, 6} if Path("/proc/net/if_inet6").exists() else {4})


# What changes on the host


FOUND = {"kernel.panic": "1", "vm.overcommit_memory": "1", "fs.inotify.max_user_instances": "128"}


def test_limits_are_raised_and_never_lowered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "fs/inotify/max_user_instances"
    limit.parent.mkdir(parents=True)
    monkeypatch.setattr(sysctls, "_ROOT", tmp_path)
    for before, after in (("128", "1024"), ("8192", "8192")):
        limit.write_text(before)
        sysctls.raise_limits()
        assert limit.read_text() == after


def test_changes_name_the_bridge_and_each_sysctl_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "missing_packages", lambda: ("debootstrap",))
    monkeypatch.setattr(changes, "missing_modules", lambda: ("br_netfilter",))
    monkeypatch.setattr(changes, "has_link", lambda _: False)
    monkeypatch.setattr(sysctls, "read", FOUND.get)
    told = [(change.kind, change.name, change.before, change.after) for change in changes.host_changes(LAB)]
    assert told == [
        ("package", "debootstrap", "", "installed"),
        ("module", "br_netfilter", "", "loaded"),
        ("interface", "kh-devlab", "", "a bridge with 10.78.0.1/24"),
        ("sysctl", "fs.inotify.max_user_instances", "128", "1024"),
        ("sysctl", "kernel.panic", "1", "10"),
    ]


def test_a_bridge_of_both_families_is_told_with_both_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "has_link", lambda _: False)
    lab = Lab("devlab", LAB.subnet, LAB.nodes, second_subnet=IPv6Network("fd00:78::/64"))
    told = [change.after for change in changes.host_changes(lab) if change.kind == "interface"]
    assert told == ["a bridge with 10.78.0.1/24 and fd00:78::1/64"]


def test_a_lab_that_is_up_changes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "missing_packages", tuple)
    monkeypatch.setattr(changes, "missing_modules", tuple)
    monkeypatch.setattr(changes, "has_link", lambda _: True)
    assert changes.host_changes(LAB) == ()


def _sysctl_tree(root: Path) -> None:
    for name, value, mode in (
        ("kernel/panic", "1\n", 0o644),
        ("kernel/osrelease", "6.18\n", 0o444),
        ("kernel/random/uuid", "a\n", 0o644),
        ("vm/overcommit_memory", "0\n", 0o644),
        ("fs/nr_open", "1048576\n", 0o644),
        ("net/ipv4/ip_forward", "0\n", 0o644),
        ("net/ipv4/tcp_sack", "1\n", 0o644),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(value)
        (root / name).chmod(mode)


def test_what_nodes_changed_is_put_back_and_nothing_else(tmp_path: Path) -> None:
    _sysctl_tree(tmp_path)
    before = sysctls.read_all(tmp_path)
    assert set(before) == {"kernel/panic", "vm/overcommit_memory", "fs/nr_open", "net/ipv4/ip_forward"}
    (tmp_path / "kernel/panic").write_text("10\n")
    (tmp_path / "net/ipv4/tcp_sack").write_text("0\n")
    assert sysctls.put_back(before, tmp_path) == ()
    assert (tmp_path / "kernel/panic").read_text() == "1"
    assert (tmp_path / "net/ipv4/tcp_sack").read_text() == "0\n"
    # Written only where it differed.
    assert (tmp_path / "vm/overcommit_memory").read_text() == "0\n"


def test_what_the_kernel_does_not_take_back_is_told(tmp_path: Path) -> None:
    _sysctl_tree(tmp_path)
    before = sysctls.read_all(tmp_path)
    (tmp_path / "kernel/panic").unlink()
    (tmp_path / "kernel/panic").symlink_to("/proc/sys/kernel/ostype")
    assert sysctls.put_back(before, tmp_path) == ("kernel.panic",)


# Requirements


def test_not_being_root_is_one_line_that_names_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingError, match=r"you are not root: .*over ssh"):
        requirements.check(LAB)


def test_a_kernel_without_ipv6_is_told_where_a_lab_needs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(requirements, "_IPV6", tmp_path / "none")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    six = Lab("devlab", IPv6Network("fd00:78::/64"), ())
    for lab, needed in ((LAB, False), (six, True)):
        with pytest.raises(MissingError) as raised:
            requirements.check(lab)
        assert ("no IPv6" in "\n".join((str(raised.value), *raised.value.details))) is needed


def test_too_small_a_disk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(requirements, "_FREE_BYTES", 1 << 60)
    with pytest.raises(MissingError) as raised:
        requirements.check(LAB)
    assert f"{tmp_path} has" in "\n".join((str(raised.value), *raised.value.details))


def test_without_nspawn_and_apt_there_is_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "find", lambda _: None)
    with pytest.raises(MissingError) as raised:
        requirements.check(LAB)
    assert "systemd-container" in "\n".join((str(raised.value), *raised.value.details))
