"""etcd on a machine of its own: what a real one told passes, and each thing that is wrong with it is found."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kharden.controls import CONTROLS, control
from kharden.observe import suite
from kharden.observe.examine import examine
from kharden.observe.examine.view import View
from kharden.observe.facts import Snapshot
from kharden.observe.host import SnapshotHost
from kharden.observe.request import attempts, request
from kharden.observe.witnesses import everybody

from .conftest import recorded_plan
from .test_examine import deviate

if TYPE_CHECKING:
    from kharden.observe.model import Observation
    from kharden.plan.model import ClusterPlan

FOLDER = Path(__file__).parent / "fixtures" / "etcd"
AUTHORITIES: dict[str, str] = json.loads((FOLDER / "authorities.json").read_text(encoding="utf-8"))
RECORDED: dict[str, Any] = json.loads((FOLDER / "snapshot.json").read_text(encoding="utf-8"))
DEVIATIONS: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "deviations.yaml").read_text(encoding="utf-8"))
OF_ETCD = [entry.id for entry in CONTROLS if entry.concerns(("etcd", "etcd-member"))]


@pytest.fixture(scope="module")
def plan() -> ClusterPlan:
    """One control plane, one worker, and one machine of etcd's own."""
    return recorded_plan(FOLDER)


@pytest.fixture
def nodes() -> dict[str, Any]:
    found: dict[str, Any] = copy.deepcopy(RECORDED["nodes"])
    return found


@pytest.fixture
def snapshot(nodes: dict[str, Any]) -> Snapshot:
    return Snapshot(datetime.fromisoformat(RECORDED["at"]), passive=False, nodes=nodes)


def examined(plan: ClusterPlan, snapshot: Snapshot, identifier: str) -> list[Observation]:
    (machine,) = plan.etcd_machines
    host = SnapshotHost(snapshot.facts(machine.name))
    view = View(plan, machine, snapshot, host, RECORDED["digests"], AUTHORITIES)
    return list(examine(control(identifier), view))


@pytest.mark.parametrize("identifier", OF_ETCD)
def test_a_recorded_machine_passes(identifier: str, plan: ClusterPlan, snapshot: Snapshot) -> None:
    found = examined(plan, snapshot, identifier)
    assert found
    assert [one for one in found if one.ok is not True] == []


def test_controls_of_such_machines_alone_have_a_deviation() -> None:
    alone = {entry.id for entry in CONTROLS if entry.duties == ("etcd",)}
    assert alone <= DEVIATIONS.keys() <= set(OF_ETCD)


@pytest.mark.parametrize("identifier", sorted(DEVIATIONS))
def test_a_deviation_fails(identifier: str, plan: ClusterPlan, nodes: dict[str, Any], snapshot: Snapshot) -> None:
    deviate(nodes, DEVIATIONS[identifier])
    assert False in [one.ok for one in examined(plan, snapshot, identifier)]


@pytest.mark.parametrize("identifier", OF_ETCD)
def test_an_unreachable_machine_is_unknown(identifier: str, plan: ClusterPlan, snapshot: Snapshot) -> None:
    gone = replace(snapshot, nodes={name: {"error": "can't be reached"} for name in snapshot.nodes})
    assert {one.ok for one in examined(plan, gone, identifier)} == {None}


def test_such_a_machine_is_asked_nothing_of_kubernetes(plan: ClusterPlan) -> None:
    (machine,) = plan.etcd_machines
    asked = request(everybody(plan), machine, attempts(everybody(plan)), passive=False)
    assert asked["cluster"] is None
    assert asked["features"] == {}
    assert not [path for path in (*asked["certificates"], *asked["kubeconfigs"]) if "kubelet" in path]
    assert {name for each in plan.control_planes for name in _kubelets(plan, each.name)} == {"cp1", "w1"}


def _kubelets(plan: ClusterPlan, name: str) -> list[str]:
    (node,) = (node for node in plan.nodes if node.name == name)
    found: list[str] = request(everybody(plan), node, attempts(everybody(plan)), passive=True)["cluster"]["kubelets"]
    return found


def test_its_member_is_asked_by_strangers_from_a_control_plane(plan: ClusterPlan) -> None:
    (first,) = plan.control_planes
    probes = request(everybody(plan), first, attempts(everybody(plan)), passive=False)["probes"]
    for port in (2379, 2380):
        text = f"GET /version of 10.91.0.31:{port} with a certificate of the cluster's CA"
        assert probes[text]["port"] == port


def test_every_control_is_observed_where_it_applies(plan: ClusterPlan, snapshot: Snapshot) -> None:
    observations = suite.run(plan, snapshot, {"amd64": RECORDED["digests"]}, AUTHORITIES, live=0)
    expected = {(entry.id, node.name) for entry in CONTROLS for node in plan.nodes if entry.concerns(node.duties)}
    assert {(one.control, one.node) for one in observations} == expected
