"""Feature gates: our table is what the programs of each minor say, and they start with what is rendered."""

from __future__ import annotations

import base64
import os
import re
import ssl
import subprocess
import urllib.request
from typing import TYPE_CHECKING

import pytest
import yaml

from kharden.artifacts import lock
from kharden.observe.collector.features import alpha
from kharden.versions import gates
from kharden.versions.contract import Contract
from tests.unit.plan.planner import Planner
from tests.unit.ports import free_port

from .control_plane import ControlPlane, get_unverified, placed
from .test_matrix import documents, judges, kubelet, kubelet_configuration

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.plan.model import ClusterPlan
    from kharden.versions.gates import Component

    from .programs import Programs

pytestmark = pytest.mark.programs

VERSIONS = lock.load().versions
METRIC = re.compile(r'^kubernetes_feature_enabled\{name="(\w+)",stage="(\w*)"\} ([01])$', re.MULTILINE)
STAGES: dict[str, gates.Stage] = {"": "ga", "ALPHA": "alpha", "BETA": "beta", "DEPRECATED": "deprecated"}
REFUSED = "feature gate"
# Alpha and off by default in every supported minor, and one that the scheduler alone doesn't know, where there is it.
CHOSEN = {"ContainerStopSignals": True, "EventedPLEG": False, "SchedulerAsyncAPICalls": True}
PARTIAL = "ControllerManagerReleaseLeaderElectionLockOnExit"


def chosen(version: str) -> dict[str, bool]:
    return CHOSEN | ({PARTIAL: True} if PARTIAL in gates.gates(Contract.of(version).minor) else {})


def plan(version: str, folder: Path) -> ClusterPlan:
    (folder / "test").mkdir()
    waiver = {"control": "alpha-features-off", "owner": "o", "reason": "r", "expires": "2099-12-31"}
    kubernetes = {"version": version, "featureGates": chosen(version)}
    return Planner(folder / "test")(kubernetes=kubernetes, waivers=[waiver])


@pytest.fixture(scope="module", params=VERSIONS)
def plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ControlPlane:
    folder = tmp_path_factory.mktemp("gates")
    return placed(plan(request.param, folder), judges(request.param), folder / "node")


def version_of(plane: ControlPlane) -> str:
    return str(documents(plane)["ClusterConfiguration"]["kubernetesVersion"]).removeprefix("v")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("component", gates.COMPONENTS)
def test_the_table_has_what_each_program_offers(version: str, component: Component) -> None:
    """A program's help has those that are alpha or beta."""
    programs = judges(version)
    told = subprocess.run([programs[component], "--help"], capture_output=True, text=True, check=True, timeout=60)
    offered = re.findall(r"\s(?:kube:)?(\w+)=true\|false \((ALPHA|BETA) - default=(true|false)\)", told.stdout)
    # A line may go on with what would hold under a compatibility version that we don't set: the first is what holds.
    says = {name: (STAGES[stage], default == "true") for name, stage, default in reversed(offered)}
    table = gates.gates(Contract.of(version).minor)
    assert says == {
        gate.name: (gate.stage, gate.default)
        for gate in table.values()
        if gate.stage in {"alpha", "beta"} and component not in gate.unknown
    }


def metrics(plane: ControlPlane) -> str:
    """The API server's, for an administrator."""
    user = yaml.safe_load((plane.root.parent / "kubeconfig").read_text())["users"][0]["user"]
    pair = plane.root / "administrator.pem"
    pair.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
    context = ssl.create_default_context(cafile=plane.path("/etc/kubernetes/pki/ca.crt"))
    context.load_cert_chain(pair)
    url = f"https://127.0.0.1:{plane.api_port}/metrics"
    with urllib.request.urlopen(url, context=context, timeout=60) as answer:
        told: bytes = answer.read()
    return told.decode()


def test_programs_of_the_control_plane_start_with_them_and_have_them(plane: ControlPlane) -> None:
    version = version_of(plane)
    wanted, minor = chosen(version), Contract.of(version).minor
    with plane.run(plane.etcd(), "etcd") as etcd:
        etcd.wait_for_words("ready to serve client requests")
        with plane.run(plane.api_server(), "kube-apiserver") as server:
            server.wait_for(lambda: plane.get("/readyz")[0] == 200)
            told = metrics(plane)
            comes_up(plane, "kube-controller-manager")
            comes_up(plane, "kube-scheduler")
    says = {name: (STAGES[stage], on == "1") for name, stage, on in METRIC.findall(told)}
    table = gates.gates(minor).values()
    assert says == {gate.name: (gate.stage, gates.on(minor, wanted, gate.name)) for gate in table}
    assert alpha(told) == sorted(gates.alpha(minor, wanted.items()))


def comes_up(plane: ControlPlane, name: str) -> None:
    port = free_port()
    with plane.run(plane.component(name, port), name) as process:
        process.wait_for(lambda: get_unverified(port, "/healthz")[0] == 200)


def test_the_kubelet_takes_them(plane: ControlPlane, tmp_path: Path) -> None:
    configuration = kubelet_configuration(plane)
    assert configuration["featureGates"] == chosen(version_of(plane))
    assert not kubelet(plane.programs, configuration, tmp_path)


def proxied(programs: Programs, configuration: dict[str, object], folder: Path) -> str:
    """What the service proxy says before it misses an API server to work for."""
    path = folder / "proxy.yaml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    argv = [programs["kube-proxy"], f"--config={path}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env={"PATH": os.defpath})
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_the_service_proxy_takes_them(plane: ControlPlane, tmp_path: Path) -> None:
    configuration = documents(plane)["KubeProxyConfiguration"]
    assert configuration["featureGates"] == chosen(version_of(plane))
    assert REFUSED not in proxied(plane.programs, configuration, tmp_path)
    assert REFUSED in proxied(plane.programs, configuration | {"featureGates": {"Unheard": True}}, tmp_path)


def test_each_program_gets_what_it_knows(tmp_path: Path) -> None:
    made = plan("1.36.3", tmp_path)
    assert PARTIAL in dict(made.gates_of("kube-controller-manager"))
    assert PARTIAL not in dict(made.gates_of("kube-scheduler"))
    assert dict(made.gates_of("kubelet")) == chosen("1.36.3")
