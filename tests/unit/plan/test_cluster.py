from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kharden.errors import InputError
from kharden.plan.facts import LabFacts
from kharden.spec.load import load

from .planner import NETWORKS, host_key

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan
    from kharden.spec.types import IPNetwork

    from .planner import Planner

_MASKS = {4: 24, 6: 64}
families = pytest.mark.parametrize("networks", NETWORKS)


def ranges(plan: ClusterPlan) -> dict[str, tuple[IPNetwork, ...]]:
    return {node.name: node.pod_ranges for node in plan.nodes}


def facts(*, version: int = 2, oom: bool = True, files: int = 1 << 30) -> LabFacts:
    keys = {f"n{offset}": (host_key(offset),) for offset in (11, 21)}
    return LabFacts(2 if version == 2 else 1, oom, files, Path("/lab/key"), keys)


# --- ranges of pods


@given(
    first=st.sets(st.integers(1, 254), min_size=1, max_size=8),
    later=st.sets(st.integers(1, 254), min_size=1, max_size=8),
    networks=st.sampled_from(sorted(NETWORKS)),
)
def test_a_nodes_ranges_stay_when_others_come_and_go(
    planned: Planner, first: set[int], later: set[int], networks: str
) -> None:
    before = ranges(planned(offsets=tuple(first), networks=networks))
    after = ranges(planned(offsets=tuple(later | {min(first)}), networks=networks))
    assert before.keys() & after.keys()
    for name in before.keys() & after.keys():
        assert before[name] == after[name]


@given(
    offsets=st.sets(st.integers(1, 254), min_size=1, max_size=12),
    networks=st.sampled_from(sorted(NETWORKS)),
)
def test_ranges_are_apart_and_lie_in_the_clusters_own(planned: Planner, offsets: set[int], networks: str) -> None:
    plan = planned(offsets=tuple(offsets), networks=networks)
    every = [network for own in ranges(plan).values() for network in own]
    assert not any(one.overlaps(other) for one, other in combinations(every, 2))
    for own in ranges(plan).values():
        for network, whole in zip(own, plan.pod_cidrs, strict=True):
            assert network.version == whole.version
            assert network.prefixlen == _MASKS[whole.version]
            assert int(network.network_address) >= int(whole.network_address)
            assert int(network.broadcast_address) <= int(whole.broadcast_address)


@given(offsets=st.sets(st.integers(1, 4000), min_size=2, max_size=6), bits=st.integers(3, 9))
def test_two_nodes_share_a_range_exactly_where_it_is_refused(planned: Planner, offsets: set[int], bits: int) -> None:
    network = {"nodeCIDRs": ["192.0.0.0/20"], "podCIDRs": [f"10.0.0.0/{24 - bits}"]}
    collide = len({offset % (1 << bits) for offset in offsets}) < len(offsets)
    if collide:
        with pytest.raises(InputError, match=r"nodes \S+ and \S+ would share the pod range 10\.\S+: give the cluster"):
            planned(offsets=tuple(offsets), network=network)
    else:
        assert len(set(ranges(planned(offsets=tuple(offsets), network=network)).values())) == len(offsets)


def test_one_node_may_have_the_whole_range(planned: Planner) -> None:
    plan = planned(offsets=(11,), network={"podCIDRs": ["10.200.7.0/24"]})
    assert [str(network) for network in plan.nodes[0].pod_ranges] == ["10.200.7.0/24"]


def test_the_range_can_be_told_from_the_address(planned: Planner) -> None:
    plan = planned(offsets=(11, 21), networks="IPv6 and IPv4")
    assert [str(network) for network in plan.nodes[0].pod_ranges] == ["2001:db8:2:b::/64", "10.200.11.0/24"]


@pytest.mark.parametrize("networks", NETWORKS)
def test_routes_lead_to_all_other_nodes_pods_and_to_none_of_its_own(planned: Planner, networks: str) -> None:
    plan = planned(offsets=(11, 12, 13, 21), control_planes=3, networks=networks)
    for node in plan.nodes:
        wanted = {
            (destination, address)
            for other in plan.nodes
            if other is not node
            for destination, address in zip(other.pod_ranges, other.addresses, strict=True)
        }
        assert {(route.destination, route.via) for route in node.routes} == wanted
        assert all(route.destination.version == route.via.version for route in node.routes)


def test_a_node_has_an_address_of_each_family_in_the_clusters_order(planned: Planner) -> None:
    (node, *_) = planned(networks="IPv6 and IPv4").nodes
    assert [str(address) for address in node.addresses] == ["2001:db8:1::b", "192.0.2.11"]
    assert node.address == node.addresses[0]
    assert (node.address_of(4), node.address_of(6)) == (node.addresses[1], node.addresses[0])
    assert planned().nodes[0].address_of(6) is None


# --- roles


def test_the_first_control_plane_is_the_one_that_stands_first(planned: Planner) -> None:
    plan = planned(offsets=(21, 12, 11, 5), control_planes=3)
    assert [node.name for node in plan.nodes if node.first] == ["n21"]
    assert [node.name for node in plan.control_planes] == ["n21", "n12", "n11"]
    assert [node.name for node in plan.workers] == ["n5"]


# --- facts


@pytest.mark.parametrize(("version", "driver"), [(1, "cgroupfs"), (2, "systemd")])
def test_a_lab_host_decides_on_the_cgroup_driver(planned: Planner, version: int, driver: str) -> None:
    for node in planned(lab=facts(version=version)).nodes:
        assert (node.runtime.cgroup_version, node.runtime.cgroup_driver) == (version, driver)


@pytest.mark.parametrize("adjustable", [True, False])
def test_oom_scores_are_restricted_only_where_the_host_can_not_lower_them(planned: Planner, adjustable: bool) -> None:  # noqa: FBT001  # pytest's parameter
    assert planned(lab=facts(oom=adjustable)).nodes[0].runtime.restrict_oom_score is not adjustable


@pytest.mark.parametrize(("limit", "wanted"), [(4096, 4096), (1 << 20, 1 << 20), (1 << 30, 1 << 20)])
def test_the_file_limit_is_within_the_hosts(planned: Planner, limit: int, wanted: int) -> None:
    assert planned(lab=facts(files=limit)).nodes[0].runtime.file_limit == wanted


def test_a_lab_node_leaves_the_kernel_alone_and_is_reached_in_the_labs_way(planned: Planner) -> None:
    plan = planned(lab=facts())
    assert plan.lab
    for node in plan.nodes:
        assert not node.runtime.kernel_settings
        assert (node.ssh.user, node.ssh.port, node.ssh.key) == ("root", 22, Path("/lab/key"))
        assert node.ssh.host_keys == (host_key(int(node.name[1:])),)


@families
def test_real_machines_get_the_defaults_and_their_own_kernel(planned: Planner, networks: str) -> None:
    plan = planned(networks=networks, ssh={"user": "admin", "port": 2222})
    assert not plan.lab
    for node in plan.nodes:
        runtime = node.runtime
        assert (runtime.cgroup_version, runtime.cgroup_driver) == (2, "systemd")
        assert (runtime.restrict_oom_score, runtime.kernel_settings) == (False, True)
        assert runtime.file_limit == 1 << 20
        assert (node.ssh.user, node.ssh.port, node.ssh.key) == ("admin", 2222, None)
        assert node.ssh.host_keys == (host_key(int(node.name[1:])),)


# --- what follows from the whole


@families
def test_dns_has_the_tenth_service_address(planned: Planner, networks: str) -> None:
    plan = planned(networks=networks)
    assert int(plan.dns_address) - int(plan.service_cidrs[0].network_address) == 10
    assert plan.dns_address in plan.service_cidrs[0]


def test_the_endpoint_is_the_nodes_own_balancer_whatever_people_use(planned: Planner) -> None:
    plan = planned(endpoint={"external": ["api.example.org"]})
    assert plan.endpoint == "127.0.0.1:7443"
    assert plan.external == ("api.example.org",)


def test_what_cluster_yaml_says_reaches_the_plan(planned: Planner) -> None:
    plan = planned(
        pki={"algorithm": "RSA-2048", "lifetimes": {"authorityDays": 100, "leafDays": 7}},
        encryption={"provider": "aescbc", "resources": ["secrets"]},
        audit={"maxAgeDays": 31, "maxBackups": 12, "maxSizeMB": 103},
        preset="baseline",
        admission={"podSecurity": "restricted", "eventRateLimits": [{"type": "User", "qps": 4, "burst": 5}]},
        kubelet={"podPidsLimit": 64},
    )
    assert (plan.pki.algorithm, plan.pki.authority_days, plan.pki.leaf_days) == ("RSA-2048", 100, 7)
    assert (plan.encryption.provider, plan.encryption.resources) == ("aescbc", ("secrets",))
    assert (plan.audit.max_age_days, plan.audit.max_backups, plan.audit.max_size_mb) == (31, 12, 103)
    assert [(limit.type, limit.qps, limit.burst) for limit in plan.admission.event_rate_limits] == [("User", 4, 5)]
    assert (plan.admission.pod_security, plan.kubelet.pod_pids_limit) == ("restricted", 64)
    assert (plan.kubernetes, plan.minor) == ("1.36.3", "1.36")


def test_the_plan_knows_of_which_file_it_is(planned: Planner) -> None:
    plan = planned()
    assert plan.spec_digest == load(planned.folder / "cluster.yaml").digest


# --- how machines are reached


JUMP_HOST = {"name": "bastion", "address": "bastion.example.org", "user": "jump", "hostKeys": [host_key(5)]}


def test_a_node_is_reached_as_its_spec_says(planned: Planner) -> None:
    ssh = {"user": "admin", "port": 2222, "key": "~/.ssh/cluster", "jumpHost": "bastion"}
    plan = planned(offsets=(11,), ssh=ssh, jumpHosts=[JUMP_HOST | {"port": 2022}])
    (node,) = plan.nodes
    assert (node.ssh.user, node.ssh.port, node.ssh.jump_host) == ("admin", 2222, "bastion")
    assert str(node.ssh.key) == "~/.ssh/cluster"
    assert node.ssh.becomes
    (bastion,) = plan.jump_hosts
    assert (bastion.address, bastion.ssh.user, bastion.ssh.port) == ("bastion.example.org", "jump", 2022)
    assert (bastion.ssh.key, bastion.ssh.host_keys) == (None, (host_key(5),))
    assert [machine.name for machine in plan.machines] == ["bastion", "n11"]


def test_the_lab_has_keys_of_its_own_for_jump_hosts_too(planned: Planner) -> None:
    lab = facts()
    lab = replace(lab, host_keys={**lab.host_keys, "bastion": (host_key(5),)})
    nodes = [{"name": "n11", "address": "192.0.2.11", "role": "control-plane", "ssh": {"jumpHost": "bastion"}}]
    plan = planned(nodes=nodes, lab=lab, jumpHosts=[{"name": "bastion", "address": "192.0.2.5", "user": "jump"}])
    assert plan.jump_hosts[0].ssh.host_keys == (host_key(5),)
    assert plan.jump_hosts[0].ssh.key == plan.nodes[0].ssh.key == Path("/lab/key")
    assert not plan.nodes[0].ssh.becomes


# --- the disk that a lab's nodes share


def test_lab_nodes_evict_at_what_is_left_and_others_at_a_share(planned: Planner) -> None:
    disks = ("nodefs.available", "imagefs.available")

    def thresholds(**sections: Any) -> list[str]:  # noqa: ANN401  # sections of cluster.yaml are open
        return [below for signal, below in planned(**sections).kubelet.eviction_hard if signal in disks]

    said = {"evictionHard": [{"signal": "imagefs.available", "below": "15%"}]}
    assert thresholds() == ["10%", "15%"]
    assert thresholds(lab=facts()) == ["1Gi", "1Gi"]
    assert thresholds(lab=facts(), kubelet=said) == ["15%"]
