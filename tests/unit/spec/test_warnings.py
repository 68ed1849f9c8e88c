"""What is allowed and rarely meant."""

from __future__ import annotations

import pytest

from kharden.spec.model import Cluster
from kharden.spec.warnings import warned


def messages(
    *zones: str | None,
    workers: tuple[str | None, ...] = (),
    etcd: tuple[str | None, ...] = (),
    gates: dict[str, bool] | None = None,
) -> list[tuple[str, str]]:
    roles = [("control-plane", zone) for zone in zones] + [("worker", zone) for zone in workers]
    roles += [("etcd", zone) for zone in etcd]
    nodes = tuple(
        {"name": f"n{i}", "address": f"10.0.0.{i + 2}", "role": role} | ({"zone": zone} if zone else {})
        for i, (role, zone) in enumerate(roles)
    )
    network = {"nodeCIDRs": ("10.0.0.0/16",), "podCIDRs": ("10.64.0.0/11",), "serviceCIDRs": ("10.1.0.0/16",)}
    spec = {
        "kubernetes": {"version": "1.36.3", "featureGates": gates or {}},
        "nodes": nodes,
        "network": network,
        "lab": {},
    }
    document = {"apiVersion": "kharden.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}, "spec": spec}
    return [(str(one.path[2:]), one.message) for one in warned(Cluster.model_validate(document))]


@pytest.mark.parametrize("zones", [("a", "b", "c"), (None,), ("a", "a", "b", "b", "c")])
def test_nothing_to_warn_of(zones: tuple[str | None, ...]) -> None:
    assert messages(*zones) == []


@pytest.mark.parametrize(
    ("zones", "place", "how_many"),
    [
        (("a",), "(0, 'zone')", "all"),
        (("a", "a", "a"), "(0, 'zone')", "all"),
        (("b", "a", "a"), "(1, 'zone')", "2 of 3"),
    ],
)
def test_a_zone_that_takes_the_cluster_with_it(zones: tuple[str, ...], place: str, how_many: str) -> None:
    assert messages(*zones) == [(place, f"this zone has {how_many} control planes, so the cluster stops with it")]


@pytest.mark.parametrize(("zones", "how_many"), [((None, None, None), "all"), (("a", None, None), "2 of 3")])
def test_zones_that_nobody_wrote_down(zones: tuple[str | None, ...], how_many: str) -> None:
    ((_, message),) = messages(*zones)
    assert message == f"{how_many} control planes have no zone here, so they may fail together"


def test_where_etcd_has_machines_of_its_own_their_zones_count() -> None:
    assert messages("a", etcd=("a", "b", "c")) == []
    message = "this zone has 2 of 3 machines of etcd, so the cluster stops with it"
    assert messages("a", "b", "c", etcd=("b", "a", "a")) == [("(4, 'zone')", message)]


def test_one_control_plane_among_nodes_with_zones() -> None:
    assert len(messages(None, workers=("a",))) == 1


def test_a_gate_that_goes() -> None:
    stays, goes = "SchedulerAsyncAPICalls", "StorageNamespaceIndex"
    assert messages(None, gates={stays: True, goes: True}) == [
        ("('featureGates', 'StorageNamespaceIndex')", "this gate is on its way out in 1.36")
    ]
