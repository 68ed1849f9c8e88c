"""Clusters on other Debian releases than the default one: `invoke test --all`, not part of CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., str]

pytestmark = [pytest.mark.lab, pytest.mark.programs]

CHECKOUT = Path(__file__).parents[2]
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
def kharden(chosen: str, tmp_path: Path) -> Iterator[Run]:
    """The program of this checkout, for a cluster on those releases; its nodes are gone afterwards."""
    text = (CHECKOUT / "inventories/lab/cluster.yaml").read_text(encoding="utf-8")
    assert "lab: {}\n" in text
    text = text.replace("name: lab\n", f"name: {CLUSTER}\n").replace("10.77.0.", "10.87.0.")
    folder = tmp_path / "inventories" / CLUSTER
    folder.mkdir(parents=True)
    (folder / "cluster.yaml").write_text(text.replace("lab: {}\n", f"lab: {LABS[chosen][0]}\n"), encoding="utf-8")
    (tmp_path / "identity").mkdir(mode=0o700)
    environment = os.environ | {"KHARDEN_CLUSTER": CLUSTER, "KHARDEN_IDENTITY": f"{tmp_path}/identity/"}

    def run(*arguments: str) -> str:
        argv = [str(Path(sys.executable).parent / "kharden"), *arguments]
        done = subprocess.run(
            argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=3600
        )
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        told: str = done.stdout
        return told

    run("lab.down")
    try:
        yield run
    finally:
        run("lab.down")


def test_a_cluster_on_those_releases_comes_up_stays_as_it_is_and_proves_itself(kharden: Run, chosen: str) -> None:
    kharden("render", "apply", "--yes")
    for node, release in LABS[chosen][1].items():
        assert kharden("lab.shell", node, "--command", "cat /etc/debian_version").startswith(release)
    assert "nothing to change" in kharden("apply", "--yes")
    assert "nothing to change" in kharden("plan")
    kharden("verify")
