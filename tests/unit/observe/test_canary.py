"""Whatever secret a node's facts might hold, it doesn't get into observations, and so not into a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kharden.observe import suite
from kharden.observe.request import attempts, request
from kharden.observe.shipping import program
from kharden.observe.witnesses import everybody
from tests.unit.observe.conftest import AUTHORITIES

if TYPE_CHECKING:
    from kharden.observe.facts import Snapshot
    from kharden.plan.model import ClusterPlan

_CANARY = "canary-5f1d0c2e"


def test_no_secret_in_observations(
    plan: ClusterPlan, snapshot: Snapshot, nodes: dict[str, Any], digests: dict[str, str]
) -> None:
    for facts in (nodes["cp1"], nodes["w1"]):
        for process in facts["processes"]:
            process["argv"].append(f"--password={_CANARY}")
        for file in facts["kubeconfigs"].values():
            file["token"] = _CANARY
        for pems in facts["certificates"].values():
            pems.append(f"-----BEGIN PRIVATE KEY-----\n{_CANARY}\n-----END PRIVATE KEY-----\n")
    nodes["cp1"]["etcd"]["secrets"]["values"] = [_CANARY]
    observations = suite.run(plan, snapshot, {"amd64": digests}, AUTHORITIES, live=0)
    assert observations
    assert _CANARY not in "".join(one.expected + one.observed for one in observations)


def test_program_for_a_node_names_keys_by_path_only(plan: ClusterPlan) -> None:
    for node in plan.nodes:
        text = program(request(everybody(plan), node, attempts(everybody(plan)), passive=False))
        assert "PRIVATE KEY" not in text
        assert "/nowhere/key" not in text
