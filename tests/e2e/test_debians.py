"""Clusters on other Debian releases than the default one: `invoke test --all`, not part of CI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.sites import described, program
from tests.e2e.states import differences, state, steady_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.sites import Program

pytestmark = [pytest.mark.lab, pytest.mark.programs]

CLUSTER = "e2e-debians"
# What is written into the section lab, and the release of each node by its /etc/debian_version.
LABS = {
    "bookworm": ("{suite: bookworm}", {"cp1": "12.", "w1": "12."}),
    "mixed": ("{suites: {w1: bookworm}}", {"cp1": "13.", "w1": "12."}),
}


@pytest.fixture(params=LABS)
def chosen(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def kharden(chosen: str, tmp_path: Path) -> Iterator[Program]:
    """The program of this checkout, for a cluster on those releases; its nodes are gone afterwards."""
    text = described(CLUSTER, "10.87.0")
    assert "lab: {}\n" in text
    with program(tmp_path, CLUSTER, cluster=text.replace("lab: {}\n", f"lab: {LABS[chosen][0]}\n")) as run:
        yield run


def test_a_cluster_on_those_releases_comes_up_stays_as_it_is_and_proves_itself(kharden: Program, chosen: str) -> None:
    kharden("render", "apply", "--yes")
    for node, release in LABS[chosen][1].items():
        assert kharden.node(node, "cat /etc/debian_version").startswith(release)
    before = steady_state(kharden.node, ("cp1", "w1"))
    assert "nothing to change" in kharden("apply", "--yes")
    assert differences(before, state(kharden.node, ("cp1", "w1"))) == []
    assert "nothing to change" in kharden("plan")
    kharden("verify")
