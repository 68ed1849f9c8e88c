"""A cluster of each Kubernetes version that isn't the default one: `invoke test --all`, not part of CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kharden.artifacts import lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., str]

pytestmark = [pytest.mark.lab, pytest.mark.programs]

CHECKOUT = Path(__file__).parents[2]
DEFAULT = "1.36.3"  # of inventories/lab; every other test of the lab has that one
CLUSTER = "e2e-versions"


@pytest.fixture(params=[version for version in lock.load().versions if version != DEFAULT])
def version(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def kharden(version: str, tmp_path: Path) -> Iterator[Run]:
    """The program of this checkout, for a cluster of that version; its nodes are gone afterwards."""
    text = (CHECKOUT / "inventories/lab/cluster.yaml").read_text(encoding="utf-8")
    assert f"version: {DEFAULT}\n" in text
    text = text.replace("name: lab\n", f"name: {CLUSTER}\n").replace("10.77.0.", "10.83.0.")
    folder = tmp_path / "inventories" / CLUSTER
    folder.mkdir(parents=True)
    (folder / "cluster.yaml").write_text(text.replace(DEFAULT, version), encoding="utf-8")
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


def test_a_cluster_of_that_version_comes_up_stays_as_it_is_and_proves_itself(kharden: Run, version: str) -> None:
    kharden("render", "apply", "--yes")
    assert "nothing to change" in kharden("apply", "--yes")
    kharden("verify")
    nodes = kharden("lab.shell", "cp1", "--command", "KUBECONFIG=/etc/kubernetes/admin.conf kubectl get nodes")
    assert nodes.count(f"v{version}") == 2
