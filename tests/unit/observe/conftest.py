from __future__ import annotations

import copy
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kharden.observe.facts import Snapshot
from kharden.plan.cluster import make
from kharden.plan.facts import LabFacts
from kharden.spec.load import load
from tests.unit.plan.planner import Planner

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan

_FIXTURES = Path(__file__).parent / "fixtures"
_LAB = _FIXTURES / "lab"
# Of the recorded cluster; a snapshot has its certificates, and who judges it is told these.
AUTHORITIES: dict[str, str] = json.loads((_LAB / "authorities.json").read_text(encoding="utf-8"))
_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAvH0vWaWbYgxIBFTDAG8WQgSXiaCpvPjMLWkKKJbTqL"


@pytest.fixture(scope="session")
def plan() -> ClusterPlan:
    """The cluster of the fixtures: one control plane, one worker."""
    return recorded_plan(_LAB)


def recorded_plan(folder: Path) -> ClusterPlan:
    """The plan of a recorded cluster."""
    loaded = load(folder / "cluster.yaml")
    keys = {node.name: (_HOST_KEY,) for node in loaded.cluster.spec.nodes}
    facts = LabFacts(
        cgroup_version=2,
        oom_adjustable=True,
        file_limit=1024,
        ssh_key=Path("/nowhere/key"),
        host_keys=keys,
    )
    return make(loaded.cluster, loaded.digest, facts)


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    """Plans of other clusters."""
    folder = tmp_path_factory.mktemp("inventories") / "test"
    folder.mkdir()
    return Planner(folder)


@pytest.fixture(scope="session")
def recorded() -> dict[str, Any]:
    """What a real lab cluster told, with what a lab can't do right (its kernel's settings) set right."""
    content: dict[str, Any] = json.loads((_LAB / "snapshot.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture
def nodes(recorded: dict[str, Any]) -> dict[str, Any]:
    """Each node's document, free to be changed by a test."""
    return copy.deepcopy(recorded["nodes"])


@pytest.fixture
def digests(recorded: dict[str, Any]) -> dict[str, str]:
    return dict(recorded["digests"])


@pytest.fixture
def snapshot(recorded: dict[str, Any], nodes: dict[str, Any]) -> Snapshot:
    return Snapshot(datetime.fromisoformat(recorded["at"]), passive=False, nodes=nodes)
