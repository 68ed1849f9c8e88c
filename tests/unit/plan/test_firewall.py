from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from kharden.plan.firewall import Place, admits, collapsed, members, openings

if TYPE_CHECKING:
    from .planner import Planner


def test_a_worker_opens_sshd_and_its_kubelet(planned: Planner) -> None:
    plan = planned(ssh={"port": 2222})
    found = {(one.protocol, one.port): one.places for one in openings(plan, plan.workers[0])}
    assert found == {("tcp", 2222): ("ssh",), ("tcp", 10250): ("control-planes",)}


def test_a_control_plane_opens_the_api_and_etcd_too(planned: Planner) -> None:
    plan = planned(offsets=(11, 12, 13, 21), control_planes=3)
    found = {(one.protocol, one.port): one.places for one in openings(plan, plan.control_planes[1])}
    assert found == {
        ("tcp", 22): ("ssh",),
        ("tcp", 10250): ("control-planes",),
        ("tcp", 6443): ("nodes", "pods", "api"),
        ("tcp", 2379): ("control-planes",),
        ("tcp", 2380): ("control-planes",),
    }
    assert all(one.reason for one in openings(plan, plan.control_planes[1]))


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("nodes", ["192.0.2.11/32", "192.0.2.21/32"]),
        ("control-planes", ["192.0.2.11/32"]),
        ("pods", ["10.200.0.0/16"]),
        ("api", ["198.51.100.0/24"]),
        ("ssh", ["0.0.0.0/0", "::/0"]),
        ("node-ports", []),
    ],
)
def test_who_is_where(planned: Planner, place: Place, expected: list[str]) -> None:
    plan = planned(access={"api": ["198.51.100.128/25", "198.51.100.0/25"]})
    assert list(map(str, members(plan, place))) == expected


def test_nodes_and_control_planes_are_there_in_each_family(planned: Planner) -> None:
    plan = planned(networks="IPv4 and IPv6")
    assert list(map(str, members(plan, "nodes"))) == [
        *("192.0.2.11/32", "192.0.2.21/32"),
        *("2001:db8:1::b/128", "2001:db8:1::15/128"),
    ]
    assert list(map(str, members(plan, "control-planes"))) == ["192.0.2.11/32", "2001:db8:1::b/128"]


def test_admits(planned: Planner) -> None:
    plan = planned(access={"api": ["198.51.100.0/24"]})
    assert admits(plan, ("nodes", "api"), ip_address("192.0.2.21"))
    assert admits(plan, ("nodes", "api"), ip_address("198.51.100.7"))
    assert not admits(plan, ("control-planes", "api"), ip_address("192.0.2.21"))


def test_ranges_are_collapsed_family_by_family() -> None:
    ranges = ["2001:db8::/33", "10.0.0.0/9", "10.1.0.0/16", "10.128.0.0/9", "2001:db8:8000::/33"]
    assert list(map(str, collapsed(map(ip_network, ranges)))) == ["10.0.0.0/8", "2001:db8::/32"]


def test_places_are_made_once_for_a_plan_and_anew_for_another(planned: Planner) -> None:
    plan = planned()
    assert members(plan, "nodes") is members(plan, "nodes")
    fewer = replace(plan, nodes=plan.nodes[:1])
    assert members(fewer, "nodes") == members(plan, "nodes")[:1]
