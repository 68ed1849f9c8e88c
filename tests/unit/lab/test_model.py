from __future__ import annotations

import string
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kharden.errors import InputError
from kharden.lab.model import HostChange, Lab, LabNode, bridge_name, machine_name

SUBNET = IPv4Network("10.78.0.0/24")


def a_lab(*nodes: tuple[str, str], name: str = "devlab", subnet: IPv4Network = SUBNET) -> Lab:
    return Lab(name, subnet, tuple(LabNode(node, IPv4Address(address)) for node, address in nodes))


def of_two(**given: str) -> Lab:
    """A lab of both families with one node; `given` replaces parts of it."""
    parts = {"address": "fd00:78::11", "subnet": "fd00:78::/64", "second": "10.78.0.11"} | given
    node = LabNode("cp1", ip_address(parts["address"]), second_address=ip_address(parts["second"]))
    return Lab("devlab", ip_network(parts["subnet"]), (node,), second_subnet=SUBNET)


LABELS = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")


def test_the_bridge_takes_the_first_address() -> None:
    assert a_lab(("cp1", "10.78.0.11")).gateways == (IPv4Address("10.78.0.1"),)


def test_the_bridge_has_an_address_of_each_family() -> None:
    lab = of_two()
    assert list(map(str, lab.gateways)) == ["fd00:78::1", "10.78.0.1"]
    assert lab.has_ipv6
    assert not a_lab(("cp1", "10.78.0.11")).has_ipv6


def test_addresses_of_the_other_family_are_looked_at_as_well() -> None:
    with pytest.raises(InputError, match=r"10\.78\.0\.1: that is the bridge's"):
        of_two(second="10.78.0.1")
    with pytest.raises(InputError, match=r"10\.79\.0\.11, which is not in"):
        of_two(second="10.79.0.11")
    with pytest.raises(InputError, match="fd00:78::1: that is the bridge's"):
        of_two(address="fd00:78::1")
    # IPv6 has no broadcasts.
    assert of_two(subnet="fd00:78::/124", address="fd00:78::f").nodes


@pytest.mark.parametrize("name", ["", "Lab", "a_b", "-a", "a-", "a.b", "a b", "../x", "a\n", "a" * 64, "lab;id"])
def test_what_is_no_label_is_refused_as_a_name(name: str) -> None:
    with pytest.raises(InputError, match="can't be the name"):
        a_lab(("cp1", "10.78.0.11"), name=name)
    with pytest.raises(InputError, match="can't be the name"):
        a_lab((name, "10.78.0.11"))


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.79.0.11", "not in 10.78.0.0/24"),
        ("10.78.0.0", "network's own"),
        ("10.78.0.1", "bridge's"),
        ("10.78.0.255", "broadcast"),
    ],
)
def test_addresses_that_no_node_can_have(address: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        a_lab(("cp1", address))


def test_two_nodes_share_neither_name_nor_address() -> None:
    with pytest.raises(InputError, match="two nodes are called cp1"):
        a_lab(("cp1", "10.78.0.11"), ("cp1", "10.78.0.12"))
    with pytest.raises(InputError, match="that is cp1"):
        a_lab(("cp1", "10.78.0.11"), ("w1", "10.78.0.11"))


def test_names_that_fit_are_readable() -> None:
    assert bridge_name("devlab") == "kh-devlab"
    assert machine_name("devlab", "cp1") == "devlab.cp1"


@given(LABELS)
def test_a_bridge_has_a_valid_interface_name(lab: str) -> None:
    name = bridge_name(lab)
    # linux/if.h, dev_valid_name().
    assert 0 < len(name) <= 15
    assert not set(name) & set("/: " + string.whitespace)


@given(LABELS, LABELS)
def test_different_labs_have_different_bridges(one: str, other: str) -> None:
    assert (bridge_name(one) == bridge_name(other)) == (one == other)


def test_long_names_that_begin_alike_stay_apart() -> None:
    assert bridge_name("a-very-long-name-1") != bridge_name("a-very-long-name-2")


@given(LABELS, LABELS)
def test_a_machine_has_a_valid_host_name(lab: str, node: str) -> None:
    name = machine_name(lab, node)
    assert len(name) <= 64
    assert name[0].isalnum()
    assert name[-1].isalnum()


def test_where_labels_hold_hyphens_two_nodes_still_have_two_names() -> None:
    assert machine_name("a-b", "c") != machine_name("a", "b-c")


def test_a_change_reads_as_one_plain_line() -> None:
    change = HostChange("sysctl", "kernel.panic", "1", "10", "the nodes' kubelets set it")
    assert str(change) == "sysctl kernel.panic: 1 → 10 (the nodes' kubelets set it)"
    assert str(HostChange("package", "debootstrap", "", "installed", "needed")) == (
        "package debootstrap: installed (needed)"
    )
