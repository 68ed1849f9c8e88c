"""The module `rolled_out` on a real API server, which has no controllers: a test says what they would have made."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.unit.library.conftest import Result, run_module

from .control_plane import placed
from .obstacles import webhook_without_backend
from .stand_ins import GOLDEN, planned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .programs import Programs

pytestmark = pytest.mark.programs

PROXY = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
    "spec": {
        "selector": {"matchLabels": {"k8s-app": "kube-proxy"}},
        "template": {
            "metadata": {"labels": {"k8s-app": "kube-proxy"}},
            "spec": {"hostNetwork": True, "containers": [{"name": "one", "image": "registry.k8s.io/pause:3.10.2"}]},
        },
    },
}


@dataclass(frozen=True)
class Cluster:
    """An API server with a daemon set; `kubectl` is a program and its kubeconfig."""

    folder: Path
    kubectl: tuple[str, str]

    def run(self, *arguments: str, given: object = None) -> str:
        program, kubeconfig = self.kubectl
        return subprocess.run(
            [program, f"--kubeconfig={kubeconfig}", f"--cache-dir={self.folder}/cache", *arguments],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    def has(self, **status: int) -> None:
        """What its controller would say of it."""
        patch = json.dumps({"status": {"observedGeneration": 1, **status}})
        self.run(
            *("--namespace=kube-system", "patch", "daemonset/kube-proxy", "--subresource=status", "--type=merge"),
            f"--patch={patch}",
        )

    def wait(self, *, check: bool = False, **values: object) -> Result:
        program, kubeconfig = self.kubectl
        arguments = {"kubectl": program, "kubeconfig": kubeconfig, "cache": str(self.folder / "cache"), **values}
        return run_module("rolled_out", {"workloads": ["DaemonSet/kube-proxy"], **arguments}, check=check)


@pytest.fixture(scope="module")
def cluster(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("rolled-out")
    own = placed(planned(GOLDEN / "lab" / "cluster.yaml"), programs, folder)
    with own.serving():
        made = Cluster(folder, (programs["kubectl"], str(folder / "kubeconfig")))
        made.run("create", "--namespace=kube-system", "serviceaccount", "default")
        made.run("label", "namespace", "kube-system", "pod-security.kubernetes.io/enforce=privileged")
        made.run("create", "--filename=-", given=PROXY)
        yield made


@pytest.fixture
def webhook(cluster: Cluster) -> Iterator[None]:
    cluster.run("create", "--filename=-", given=webhook_without_backend(1))
    yield
    cluster.run("delete", "validatingwebhookconfiguration", "gone")


def test_what_runs_everywhere_is_not_waited_for(cluster: Cluster) -> None:
    cluster.has(desiredNumberScheduled=2, currentNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=2)
    result = cluster.wait()
    assert (result.status, result.values["changed"]) == (0, False), result.printed
    assert result.values["waited"] < 150  # half of what it waits at most


def test_a_pod_that_is_missing_and_may_be_made_is_waited_for(cluster: Cluster) -> None:
    cluster.has(desiredNumberScheduled=2, currentNumberScheduled=1, updatedNumberScheduled=1, numberAvailable=1)
    assert cluster.wait(check=True).status == 0
    result = cluster.wait(timeout=3, patience=0)
    assert result.status == 1
    assert result.values["msg"] == (
        "DaemonSet/kube-proxy: isn't rolled out after 3 s: "
        "see `kubectl --namespace=kube-system describe DaemonSet/kube-proxy`"
    )
    assert cluster.run("get", "pods", "--all-namespaces", "--output=name") == ""


@pytest.mark.usefixtures("webhook")
def test_pods_that_a_webhook_without_a_backend_refuses_are_told_soon(cluster: Cluster) -> None:
    cluster.has(desiredNumberScheduled=2, currentNumberScheduled=1, updatedNumberScheduled=1, numberAvailable=1)
    began = time.monotonic()
    result = cluster.wait(patience=3)
    assert result.status == 1
    said = result.values["msg"]
    assert said.startswith(
        "DaemonSet/kube-proxy: its pods can't be made: Internal error occurred: failed calling webhook \"gone."
    )
    assert 'service "gone" not found' in said
    assert said.endswith(": mend or remove what refuses them")
    assert time.monotonic() - began < 150  # half of what it waits where nobody refuses them
    assert cluster.wait(until="permitted", patience=3).values["msg"] == said


@pytest.mark.usefixtures("webhook")
def test_a_webhook_is_in_nobodys_way_whose_pods_are_all_there(cluster: Cluster) -> None:
    cluster.has(desiredNumberScheduled=2, currentNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=1)
    assert "isn't rolled out after 3 s" in cluster.wait(timeout=3, patience=0).values["msg"]


def test_pods_that_nobody_refuses_may_be_missing_where_that_is_asked(cluster: Cluster) -> None:
    cluster.has(desiredNumberScheduled=2, currentNumberScheduled=1, updatedNumberScheduled=1, numberAvailable=1)
    assert cluster.wait(until="permitted").values["waited"] < 150
    assert cluster.wait(until="permitted", kubectl="/bin/false").status == 0


@pytest.mark.usefixtures("webhook")
def test_pods_that_are_there_are_permitted_also_where_no_other_would_be(cluster: Cluster) -> None:
    cluster.has(desiredNumberScheduled=2, currentNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=1)
    assert cluster.wait(until="permitted", patience=0).status == 0


def test_an_api_that_does_not_answer_refuses_nobody(cluster: Cluster) -> None:
    result = cluster.wait(kubectl="/bin/false", timeout=3, patience=0)
    assert "DaemonSet/kube-proxy: isn't rolled out after 3 s" in result.values["msg"]
