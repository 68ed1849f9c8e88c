"""Clusters that are rendered, and the real programs that judge what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kharden.seal import STORES, Identities, load_or_create_identity

from .programs import Programs, found
from .stand_ins import GOLDEN, planned, rendered

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.plan.model import ClusterPlan
    from kharden.render.cluster import Build


@pytest.fixture(scope="session", params=["lab", "ha", "etcd"])
def case(request: pytest.FixtureRequest) -> str:
    """The name of a folder of tests/golden."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def plan(case: str) -> ClusterPlan:
    return planned(GOLDEN / case / "cluster.yaml")


@pytest.fixture(scope="session")
def build(plan: ClusterPlan) -> Build:
    return rendered(plan)


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    return load_or_create_identity({"HOME": str(tmp_path / "home")}, create=STORES)[0]


@pytest.fixture(scope="session")
def programs() -> Programs:
    own = found()
    if missing := {"kubeadm", "kube-apiserver", "etcd", "containerd", "host-local"} - own.paths.keys():
        pytest.skip(f"needs {', '.join(sorted(missing))}, which `invoke test` builds")
    return own
