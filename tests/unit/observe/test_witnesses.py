"""With a node away the others are asked for what they know too, and only what is of that node is unknown."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kharden.controls import CONTROLS, control
from kharden.observe import scratch
from kharden.observe.collector import collect as collector
from kharden.observe.examine import examine
from kharden.observe.examine.view import View
from kharden.observe.facts import Facts
from kharden.observe.host import SnapshotHost
from kharden.observe.request import attempts, request
from kharden.observe.witnesses import Witnesses, everybody
from tests.unit.observe.conftest import AUTHORITIES

if TYPE_CHECKING:
    from kharden.observe.facts import Snapshot
    from kharden.observe.model import Observation
    from kharden.plan.model import ClusterPlan
    from tests.unit.plan.planner import Planner

_GONE = "can't be reached (ssh: connect to host 192.0.2.11 port 22: No route to host)"
_TOLD_BY_ANY = {
    "bootstrap-tokens-absent",
    "dashboard-absent",
    "default-service-accounts-unmounted",
    "etcd-encryption-at-rest",
    "namespaces-bounded",
    "namespaces-pod-security",
    "network-policies-enforced",
    "network-policies-present",
    "node-marks",
}


@pytest.fixture
def large(planned: Planner) -> ClusterPlan:
    return planned(offsets=(11, 12, 13, 21, 22), control_planes=3)


def test_the_absent_are_asked_for_nothing(large: ClusterPlan) -> None:
    first, second, third, *_ = large.nodes
    some = Witnesses(large, {first.name: _GONE}, {second.name: "not ready"})
    assert some.speakers == (third,)
    assert {some.settings_asker(node) for node in large.nodes} == {third}
    assert first not in some.others(second)
    assert len(everybody(large).others(second)) == 4
    tried = attempts(some)
    assert first.name not in tried
    addresses = {each["host"] for place in tried.values() for asked in place.values() for each in asked.values()}
    assert str(first.address) not in addresses
    asked = {node.name: request(some, node, tried, passive=False) for node in some.nodes}
    assert not any(str(first.address) in text for each in asked.values() for text in each["probes"])
    assert asked[second.name]["cluster"] is None
    assert asked[third.name]["cluster"]["kubelets"] == [node.name for node in large.nodes]


def test_another_control_plane_makes_the_pods(large: ClusterPlan) -> None:
    first, second, *_ = large.nodes
    some = Witnesses(large, {first.name: _GONE}, {})
    asked = scratch.making(some, "pause")["scratch_pods"]
    assert asked["api_of"]["host"] == scratch.removing(some)["scratch_pods"]["api_of"]["host"] == str(second.address)
    assert {each["node"] for each in asked["made"]["wanted"]} == {node.name for node in large.nodes[1:]}
    _, lacking = scratch.asking(some, second, {}, Facts({"error": "no pods"}, second.name))
    assert set(lacking) == {"from_pod", "policies"}


def test_where_nobody_can_speak_the_first_one_says_why(large: ClusterPlan) -> None:
    nobody = Witnesses(large, {node.name: _GONE for node in large.nodes}, {})
    assert nobody.speakers == large.control_planes[:1]
    assert nobody.nodes == ()


def _seen(
    plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str], identifier: str
) -> dict[str, list[Observation]]:
    return {
        node.name: list(
            examine(
                control(identifier),
                View(plan, node, snapshot, SnapshotHost(snapshot.facts(node.name)), digests, AUTHORITIES),
            )
        )
        for node in plan.nodes
        if control(identifier).concerns(node.duties)
    }


@pytest.mark.parametrize("identifier", [entry.id for entry in CONTROLS])
def test_only_what_is_of_an_absent_control_plane_is_unknown(
    identifier: str, plan: ClusterPlan, nodes: dict[str, Any], snapshot: Snapshot, digests: dict[str, str]
) -> None:
    """cp1 is as it was recorded; cp0 has gone."""
    gone = replace(plan.nodes[0], name="cp0", first=False)
    bigger = replace(plan, nodes=(*plan.nodes, gone))
    marks = nodes["cp1"]["cluster"]["nodes"]
    marks["cp0"] = copy.deepcopy(marks["cp1"])
    partly = replace(snapshot, nodes={**nodes, "cp0": {"error": _GONE}}, away={"cp0": _GONE})
    found = _seen(bigger, partly, digests, identifier)
    oks = {one.ok for one in found.pop("cp0", [])}
    if oks:
        assert oks == ({True} if identifier in _TOLD_BY_ANY else {None})
    # The firewall's rules name every control plane, and there were fewer when this was recorded.
    if identifier != "firewall-rules":
        assert [one for own in found.values() for one in own if one.ok is not True] == []


def test_who_is_there_and_whose_api_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kharden.observe.collector.api._READY_SECONDS", 0)
    assert collector({"present": None}) == {"present": {}}
    nowhere = {"host": "127.0.0.1", "port": 1, "kubeconfig": "/no/such"}
    assert "FileNotFoundError" in collector({"present": nowhere})["present"]["error"]
