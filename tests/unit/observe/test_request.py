from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kharden.controls import CONTROLS
from kharden.controls.checks import PodAdmission, Probe
from kharden.observe import pods
from kharden.observe.questions import askers, foreign_node_questions, probe_questions
from kharden.observe.request import attempts, etcd_question, request, stored_under
from kharden.observe.witnesses import everybody
from tests.unit.plan.planner import Planner

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.plan.model import ClusterPlan


def _cluster_of(plan: ClusterPlan, control_planes: int, workers: int) -> ClusterPlan:
    first, worker = plan.nodes
    nodes = [replace(first, name=f"cp{number}", first=number == 1) for number in range(1, control_planes + 1)]
    nodes += [replace(worker, name=f"w{number}") for number in range(1, workers + 1)]
    return replace(plan, nodes=tuple(nodes))


def test_request_is_json_and_has_only_what_the_role_needs(plan: ClusterPlan) -> None:
    control_plane, worker = (
        request(everybody(plan), node, attempts(everybody(plan)), passive=False) for node in plan.nodes
    )
    assert json.loads(json.dumps(control_plane)) == control_plane
    assert worker["cluster"] is None
    assert "etcd" in control_plane["programs"]
    assert "etcd" not in worker["programs"]
    assert not any("etcd" in path for path in worker["certificates"])


@pytest.mark.parametrize(("networks", "loopback"), [("IPv4 and IPv6", "127.0.0.1"), ("IPv6 and IPv4", "[::1]")])
def test_what_listens_everywhere_is_asked_at_each_address_and_etcd_at_its_own(
    tmp_path: Path, networks: str, loopback: str
) -> None:
    folder = tmp_path / "test"
    folder.mkdir()
    plan = Planner(folder)(networks=networks)
    node = plan.nodes[0]
    asked = request(everybody(plan), node, attempts(everybody(plan)), passive=True)
    hosts = {(probe["host"], probe["port"]) for probe in asked["probes"].values() if probe["path"] == "/version"}
    first, second = map(str, node.addresses)
    assert hosts == {(first, 6443), (second, 6443), (first, 2379), (first, 2380)}
    shaken = {(each["host"], each["port"]) for each in asked["handshakes"].values()}
    assert {(first, 10250), (second, 10250), (first, 2379)} <= shaken
    assert (second, 2379) not in shaken
    etcd = etcd_question(plan, node)
    assert etcd
    assert f"--endpoints=https://{loopback}:2379" in etcd["command"]
    assert etcd_question(plan, plan.nodes[1]) is None
    assert "net.ipv6.conf.all.forwarding" in asked["sysctls"]


def test_settings_of_a_family_that_pods_dont_have_are_not_asked_for(plan: ClusterPlan) -> None:
    asked = request(everybody(plan), plan.nodes[0], attempts(everybody(plan)), passive=True)["sysctls"]
    assert "net.ipv4.ip_forward" in asked
    assert not [name for name in asked if "ip6" in name or "ipv6" in name]


def test_sshd_is_asked_for_the_way_that_kharden_comes(plan: ClusterPlan) -> None:
    node = replace(plan.nodes[1], ssh=replace(plan.nodes[1].ssh, user="admin", port=2222))
    witnesses = everybody(replace(plan, nodes=(plan.nodes[0], node)))
    asked = request(witnesses, node, attempts(witnesses), passive=True)["sshd"]
    assert asked == {user: {"address": str(node.address), "port": 2222} for user in ("root", "admin")}


def test_passive_request_writes_nothing(plan: ClusterPlan) -> None:
    asked = request(everybody(plan), plan.nodes[0], attempts(everybody(plan)), passive=True)
    assert asked["cluster"]["active"] is False
    assert asked["cluster"]["pods"] == {}
    assert {probe["method"] for probe in asked["probes"].values()} == {"GET"}


def test_active_probes_only_ever_dry_run(plan: ClusterPlan) -> None:
    for node in plan.nodes:
        for probe in request(everybody(plan), node, attempts(everybody(plan)), passive=False)["probes"].values():
            assert probe["method"] == "GET" or probe["path"].endswith("?dryRun=All")


@pytest.mark.parametrize(("control_planes", "workers"), [(1, 0), (1, 1), (3, 0), (3, 4)])
def test_every_question_is_asked_by_those_who_answer_for_it(
    plan: ClusterPlan, control_planes: int, workers: int
) -> None:
    cluster = _cluster_of(plan, control_planes, workers)
    requests = {
        node.name: request(everybody(cluster), node, attempts(everybody(cluster)), passive=False)
        for node in cluster.nodes
    }
    for target in cluster.nodes:
        for control in CONTROLS:
            for check in control.checks_for(target.duties):
                if isinstance(check, Probe):
                    for asker in askers(everybody(cluster), target, check):
                        asked = {question.text for question in probe_questions(target, check)}
                        assert asked
                        assert asked <= requests[asker.name]["probes"].keys()


@pytest.mark.parametrize(("control_planes", "workers"), [(1, 0), (1, 5), (3, 4)])
def test_each_kubelet_is_asked_by_one_control_plane(plan: ClusterPlan, control_planes: int, workers: int) -> None:
    cluster = _cluster_of(plan, control_planes, workers)
    asked = {
        node.name: request(everybody(cluster), node, attempts(everybody(cluster)), passive=True)["cluster"]["kubelets"]
        for node in cluster.control_planes
    }
    assert sorted(name for names in asked.values() for name in names) == sorted(node.name for node in cluster.nodes)
    for node in cluster.nodes:
        assert node.name in asked[everybody(cluster).settings_asker(node).name]


def test_lone_node_tries_its_own_reserved_label(plan: ClusterPlan) -> None:
    cluster = _cluster_of(plan, 1, 0)
    refusals = foreign_node_questions(everybody(cluster), cluster.nodes[0], None)  # type: ignore[arg-type]  # it has no fields
    assert [refusal.status for refusal in refusals] == ["200", "403"]


@pytest.mark.parametrize(
    ("resource", "folder"),
    [
        ("secrets", "/registry/secrets/"),
        ("deployments.apps", "/registry/deployments/"),
        ("networkpolicies.networking.k8s.io", "/registry/networkpolicies/"),
        ("widgets.example.com", "/registry/example.com/widgets/"),
        ("nodes", "/registry/minions/"),
        ("endpoints", "/registry/services/endpoints/"),
        ("services", "/registry/services/specs/"),
        ("replicationcontrollers", "/registry/controllers/"),
        ("ingresses.networking.k8s.io", "/registry/ingress/"),
        ("roles.rbac.authorization.k8s.io", "/registry/roles/"),
        ("volumesnapshots.snapshot.storage.k8s.io", "/registry/snapshot.storage.k8s.io/volumesnapshots/"),
        (
            "customresourcedefinitions.apiextensions.k8s.io",
            "/registry/apiextensions.k8s.io/customresourcedefinitions/",
        ),
        ("nodes.example.com", "/registry/example.com/nodes/"),
    ],
)
def test_stored_under(resource: str, folder: str) -> None:
    assert stored_under(resource) == folder


def test_each_pod_differs_from_the_restricted_one_in_its_own_way() -> None:
    tried = {
        check.feature: pods.pod(check)
        for control in CONTROLS
        for check in control.checks
        if isinstance(check, PodAdmission)
    }
    restricted: dict[str, Any] = tried.pop("")
    context = restricted["spec"]["securityContext"]
    assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert all(pod != restricted for pod in tried.values())
    assert len({json.dumps(pod) for pod in tried.values()}) == len(tried)
