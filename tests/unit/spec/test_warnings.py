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
    network: dict[str, object] | None = None,
) -> list[tuple[str, str]]:
    roles = [("control-plane", zone) for zone in zones] + [("worker", zone) for zone in workers]
    roles += [("etcd", zone) for zone in etcd]
    nodes = tuple(
        {"name": f"n{i}", "address": f"10.0.0.{i + 2}", "role": role} | ({"zone": zone} if zone else {})
        for i, (role, zone) in enumerate(roles)
    )
    ranges = {"nodeCIDRs": ("10.0.0.0/16",), "podCIDRs": ("10.64.0.0/11",), "serviceCIDRs": ("10.1.0.0/16",)}
    spec = {
        "kubernetes": {"version": "1.36.3", "featureGates": gates or {}},
        "nodes": nodes,
        "network": ranges | (network or {}),
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


def behind_a_jump_host(address: str, *let_in: str) -> list[str]:
    """What is said of a machine that is reached over `address`, with a plugin that somebody installs."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER"
    node = {"name": "n", "address": "192.0.2.11", "role": "control-plane", "zone": "a"}
    network = {"nodeCIDRs": ("192.0.2.0/24",), "podCIDRs": ("10.64.0.0/11",), "serviceCIDRs": ("10.1.0.0/16",)}
    spec = {
        "kubernetes": {"version": "1.36.3"},
        "nodes": (node | {"ssh": {"jumpHost": "bastion", "hostKeys": (key,)}},),
        "jumpHosts": ({"name": "bastion", "address": address, "user": "jump", "hostKeys": (key,)},),
        "network": network | {"ports": ({"port": 4789, "protocol": "udp"},), "plugin": "none"},
        "access": {"ssh": let_in},
    }
    document = {"apiVersion": "kharden.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}, "spec": spec}
    return [one.message for one in warned(Cluster.model_validate(document)) if one.path[1] != "nodes"]


def test_an_outer_jump_host_that_nodes_may_not_let_in() -> None:
    message = "this list lacks the address of bastion: nodes let it in only if they see another one of it"
    assert behind_a_jump_host("198.51.100.5", "203.0.113.0/24") == [message]
    assert behind_a_jump_host("198.51.100.5", "198.51.100.0/24") == []
    assert behind_a_jump_host("bastion.example.com", "203.0.113.0/24") == []
    # In the nodes' own range it is refused.
    assert behind_a_jump_host("192.0.2.5", "203.0.113.0/24") == []


@pytest.mark.parametrize("plugin", ["none", "manifest"])
def test_a_plugin_of_others_without_a_port_has_no_tunnels(plugin: str) -> None:
    ((place, message),) = messages("a", "b", "c", network={"plugin": plugin})
    assert place == "('plugin',)"
    assert "drops its tunnels between nodes (VXLAN 4789 or 8472/UDP, Geneve 6081/UDP, WireGuard 51820/UDP)" in message
    assert messages("a", "b", "c", network={"plugin": plugin, "ports": ({"port": 179},)}) == []
