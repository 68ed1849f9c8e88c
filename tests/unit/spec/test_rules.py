"""What rules let through; what they refuse is in tests/invalid/."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kharden.spec.document import unread
from kharden.spec.model import Cluster
from kharden.spec.problems import Finding, Place
from kharden.spec.rules import broken
from kharden.versions.contract import SUPPORTED


def cluster(
    *,
    nodes: int = 1,
    workers: int = 0,
    address: str = "10.0.{}.{}",
    second: str = "",
    **spec: Any,  # noqa: ANN401  # JSON
) -> Cluster:
    def addresses(i: int) -> dict[str, str]:
        places = {"address": address, "secondAddress": second}
        return {key: place.format(i // 250, i % 250 + 2) for key, place in places.items() if place}

    members = tuple(
        {
            "name": f"n{i}",
            "role": "control-plane" if i < nodes else "worker",
        }
        | addresses(i)
        for i in range(nodes + workers)
    )
    network = {"nodeCIDRs": ("10.0.0.0/16",), "podCIDRs": ("10.64.0.0/11",), "serviceCIDRs": ("10.1.0.0/16",)}
    kubernetes = {"version": f"{SUPPORTED[-1]}.0"}
    whole = {"kubernetes": kubernetes, "nodes": members, "network": network | spec.pop("network", {}), "lab": {}} | spec
    return Cluster.model_validate(
        {"apiVersion": "kharden.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}, "spec": whole}
    )


def messages(found: Cluster) -> list[str]:
    return [finding.message for finding in broken(found, "c")]


@pytest.mark.parametrize("nodes", [1, 3, 5, 7])
def test_odd_numbers_of_control_planes(nodes: int) -> None:
    assert messages(cluster(nodes=nodes)) == []


@pytest.mark.parametrize("services", ["10.16.0.0/12", "10.1.0.0/24", "10.1.0.0/16"])
def test_sizes_of_services(services: str) -> None:
    assert messages(cluster(network={"serviceCIDRs": (services,)})) == []


@given(st.integers(0, 40), st.integers(8, 26))
def test_there_is_a_range_of_pods_for_each_node(workers: int, prefix: int) -> None:
    found = messages(cluster(workers=workers, network={"podCIDRs": (f"96.0.0.0/{prefix}",)}))
    fits = prefix <= 24 and 2 ** (24 - prefix) >= workers + 1
    assert found == ([] if fits else [f"this range is too small: it has no /24 for each of {workers + 1} nodes"])


@pytest.mark.parametrize("prefix", [48, 56, 64])
def test_ipv6_alone(prefix: int) -> None:
    network = {"nodeCIDRs": ("fd00::/64",), "podCIDRs": (f"fd01::/{prefix}",), "serviceCIDRs": ("fd02::/108",)}
    assert messages(cluster(address="fd00::{}:{}", network=network)) == []


def test_two_families() -> None:
    network = {
        "nodeCIDRs": ("10.0.0.0/16", "fd00::/64"),
        "podCIDRs": ("10.64.0.0/11", "fd01::/56"),
        "serviceCIDRs": ("10.1.0.0/16", "fd02::/112"),
    }
    assert messages(cluster(nodes=3, second="fd00::{}:{}", network=network)) == []
    lacking = "with two families each node has two addresses, and this one lacks secondAddress"
    assert messages(cluster(nodes=3, network=network)) == [lacking] * 3


def test_the_first_family_is_the_nodes() -> None:
    network = {
        "nodeCIDRs": ("fd00::/64", "10.0.0.0/16"),
        "podCIDRs": ("fd01::/56", "10.64.0.0/11"),
        "serviceCIDRs": ("fd02::/112", "10.1.0.0/16"),
    }
    swapped = [f"this address isn't in spec.network.nodeCIDRs[{i}]" for i in (0, 1)]
    assert messages(cluster(second="fd00::{}:{}", network=network)) == swapped
    assert messages(cluster(address="fd00::{}:{}", second="10.0.{}.{}", network=network)) == []


def test_the_last_address_of_a_range_of_ipv6_is_a_nodes() -> None:
    network = {"nodeCIDRs": ("fd00::/124",), "podCIDRs": ("fd01::/56",), "serviceCIDRs": ("fd02::/108",)}
    assert messages(cluster(address="fd00::f", network=network)) == []


@pytest.mark.parametrize("range_", ["10.0.0.2/32", "10.0.0.2/31"])
def test_a_range_too_small_for_a_broadcast_address(range_: str) -> None:
    assert messages(cluster(network={"nodeCIDRs": (range_,)})) == []


def test_the_last_range_of_all() -> None:
    network = {"nodeCIDRs": ("255.255.255.255/32",)}
    assert messages(cluster(address="255.255.255.255", network=network)) == []


def test_the_first_address_is_free_where_there_is_no_bridge() -> None:
    found = cluster(address="10.0.0.1", lab=None)
    assert messages(found) == ["this machine's host keys aren't pinned"]


def test_leaves_may_live_as_long_as_their_authority() -> None:
    assert messages(cluster(pki={"lifetimes": {"authorityDays": 90, "leafDays": 90}})) == []


def test_one_recipient_may_open_several_stores() -> None:
    one = ("age1" + "q" * 58,)
    assert messages(cluster(secrets={"recipients": {"roots": one, "leaves": one, "data": one}})) == []


@pytest.mark.parametrize("version", ["1.34.9", "1.38.0", "2.36.0", "1.3.6", "11.36.0"])
def test_other_minors(version: str) -> None:
    assert messages(cluster(kubernetes={"version": version})) == ["this minor version isn't supported"]


def test_a_document_that_was_not_read_has_one_finding() -> None:
    finding = Finding((), "message", "remedy", Place(1, 1))
    assert unread(finding).findings == (finding,)
    assert unread(finding).place(("spec",)) == Place(1, 1)
