"""A cluster of each Kubernetes version that isn't the default one: `invoke test --all`, not part of CI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kharden.artifacts import lock
from tests.e2e.sites import described, program
from tests.e2e.states import differences, state, steady_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.sites import Program

pytestmark = [pytest.mark.lab, pytest.mark.programs]

DEFAULT = "1.36.3"  # of inventories/lab; every other test of the lab has that one
CLUSTER = "e2e-versions"


@pytest.fixture(params=[version for version in lock.load().versions if version != DEFAULT])
def version(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def kharden(version: str, tmp_path: Path) -> Iterator[Program]:
    """The program of this checkout, for a cluster of that version; its nodes are gone afterwards."""
    text = described(CLUSTER, "10.83.0")
    assert f"version: {DEFAULT}\n" in text
    with program(tmp_path, CLUSTER, cluster=text.replace(DEFAULT, version)) as run:
        yield run


def test_a_cluster_of_that_version_comes_up_stays_as_it_is_and_proves_itself(kharden: Program, version: str) -> None:
    kharden("render", "apply", "--yes")
    before = steady_state(kharden.node, ("cp1", "w1"))
    assert "nothing to change" in kharden("apply", "--yes")
    assert differences(before, state(kharden.node, ("cp1", "w1"))) == []
    kharden("verify")
    nodes = kharden("lab.shell", "cp1", "--command", "KUBECONFIG=/etc/kubernetes/admin.conf kubectl get nodes")
    assert nodes.count(f"v{version}") == 2
