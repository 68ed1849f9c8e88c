from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from kharden.plan.endpoints import api_server_sans, bracketed, etcd_sans, no_sans, people_server

from .planner import NETWORKS

if TYPE_CHECKING:
    from .planner import Planner

families = pytest.mark.parametrize("networks", NETWORKS)
_SERVICE = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
_FIRST_SERVICE = {4: "10.96.0.1", 6: "2001:db8:3::1"}


@families
def test_an_api_server_answers_to_its_service_its_node_and_the_balancer(planned: Planner, networks: str) -> None:
    plan = planned(networks=networks, offsets=(11, 12, 13), control_planes=3)
    for node in plan.control_planes:
        sans = api_server_sans(plan, node)
        assert set(sans.dns) == {*_SERVICE, node.name, "localhost"}
        services = {ip_address(_FIRST_SERVICE[network.version]) for network in plan.service_cidrs}
        assert set(sans.ip) == services | {*node.addresses, ip_address("127.0.0.1")}


def test_external_names_and_addresses_go_where_they_belong(planned: Planner) -> None:
    plan = planned(endpoint={"external": ["api.example.org", "198.51.100.7", "2001:db8::7"]})
    sans = api_server_sans(plan, plan.nodes[0])
    assert sans.dns[-1] == "api.example.org"
    assert sans.ip[-2:] == (ip_address("198.51.100.7"), ip_address("2001:db8::7"))


@pytest.mark.parametrize(
    ("external", "server"),
    [
        (["api.example.org", "198.51.100.7"], "https://api.example.org:6443"),
        (["198.51.100.7", "api.example.org"], "https://198.51.100.7:6443"),
        (["2001:db8::7"], "https://[2001:db8::7]:6443"),
        ([], "https://192.0.2.11:6443"),
    ],
)
def test_people_are_sent_to_the_first_external_name(planned: Planner, external: list[str], server: str) -> None:
    assert people_server(planned(endpoint={"external": external})) == server


def test_extra_names_come_after_the_external_ones(planned: Planner) -> None:
    extra = ["k8s.example.org", "2001:db8::8"]
    plan = planned(endpoint={"external": ["api.example.org"]}, pki={"extraSANs": extra})
    sans = api_server_sans(plan, plan.nodes[0])
    assert sans.dns[-2:] == ("api.example.org", "k8s.example.org")
    assert sans.ip[-1] == ip_address("2001:db8::8")
    assert etcd_sans(plan, plan.nodes[0]) == etcd_sans(planned(), planned().nodes[0])


def test_nothing_stands_twice(planned: Planner) -> None:
    plan = planned(endpoint={"external": ["kubernetes.default", "192.0.2.11", "10.96.0.1"]})
    sans = api_server_sans(plan, plan.nodes[0])
    assert len(sans.dns) == len(set(sans.dns)) == len(_SERVICE) + 2
    assert len(sans.ip) == len(set(sans.ip)) == 3


def test_another_nodes_names_are_not_among_them(planned: Planner) -> None:
    plan = planned(offsets=(11, 12, 13, 21), control_planes=3)
    own, *others = plan.nodes
    for sans in (api_server_sans(plan, own), etcd_sans(plan, own)):
        assert not {other.name for other in others} & set(sans.dns)
        assert not {address for other in others for address in other.addresses} & set(sans.ip)


@families
def test_etcd_answers_on_loopback_of_both_families(planned: Planner, networks: str) -> None:
    plan = planned(networks=networks)
    sans = etcd_sans(plan, plan.nodes[0])
    assert sans.dns == ("n11", "localhost")
    assert sans.ip == (plan.nodes[0].address, ip_address("127.0.0.1"), ip_address("::1"))


def test_a_client_certificate_has_none(planned: Planner) -> None:
    plan = planned()
    assert (no_sans(plan, plan.nodes[0]).dns, no_sans(plan, plan.nodes[0]).ip) == ((), ())


@pytest.mark.parametrize(("address", "host"), [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "[2001:db8::1]")])
def test_a_urls_host_has_brackets_where_it_needs_them(address: str, host: str) -> None:
    assert bracketed(ip_address(address)) == host
