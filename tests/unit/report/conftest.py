from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from kharden.controls import CONTROLS
from kharden.observe.model import Observation
from kharden.plan.cluster import make
from kharden.spec.load import load

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.plan.model import ClusterPlan

_CLUSTER = """\
apiVersion: kharden.dev/v1
kind: Cluster
metadata: {name: real}
spec:
  kubernetes: {version: 1.36.3}
  nodes:
    - {name: cp1, address: 192.0.2.11, role: control-plane, ssh: {hostKeys: ["KEY"]}}
    - {name: w1, address: 192.0.2.21, role: worker, ssh: {hostKeys: ["KEY"]}}
  namespaces: [{name: apps}]
  network:
    nodeCIDRs: [192.0.2.0/24]
    podCIDRs: [10.200.0.0/16]
    serviceCIDRs: [10.201.0.0/16]
"""
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAvH0vWaWbYgxIBFTDAG8WQgSXiaCpvPjMLWkKKJbTq"


@pytest.fixture
def now() -> datetime:
    return datetime(2027, 1, 31, 12, 0, tzinfo=UTC)


@pytest.fixture
def plan(tmp_path: Path) -> ClusterPlan:
    """A cluster of real machines: one control plane, one worker."""
    path = tmp_path / "real" / "cluster.yaml"
    path.parent.mkdir()
    text = _CLUSTER
    for ending in ("1", "2"):
        text = text.replace("KEY", f"{_KEY}{ending}", 1)
    path.write_text(text)
    loaded = load(path)
    return make(loaded.cluster, loaded.digest, None)


@pytest.fixture
def lab(plan: ClusterPlan) -> ClusterPlan:
    return replace(plan, lab=True)


@pytest.fixture
def worker_only(plan: ClusterPlan) -> ClusterPlan:
    """No cluster is like this; it shows what happens to controls of a role that no node has."""
    return replace(plan, nodes=plan.workers)


@pytest.fixture
def good(plan: ClusterPlan, now: datetime) -> list[Observation]:
    """Every control observed and right on every node."""
    return [
        Observation(control.id, node.name, "collector", "what must be", "what is", now, ok=True)
        for control in CONTROLS
        for node in plan.nodes
        if control.concerns(node.duties)
    ]
