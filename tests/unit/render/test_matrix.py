"""The programs of every Kubernetes version judge what is rendered for every shape of cluster.

For each shape: kubeadm takes all of its configurations, etcd comes up with its flags and certificates, kube-apiserver
reads all of its flags and files, the kubelet takes its configuration. Of the default version all programs are there; of
the others `invoke test --all` brings the controller manager and the scheduler too, which then judge their flags.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import pytest
import yaml

from kharden.artifacts import lock
from kharden.observe.measure import own_images
from kharden.spec.presets import Preset
from kharden.versions.contract import SUPPORTED, Contract
from tests.unit.plan.planner import Planner

from .control_plane import READ, ControlPlane, placed
from .programs import found
from .stand_ins import facts, rendered

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kharden.plan.model import ClusterPlan
    from kharden.render.cluster import Build

    from .programs import Programs

pytestmark = pytest.mark.programs

VERSIONS = lock.load().versions
JUDGES = {
    *("kubeadm", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"),
    "etcd",
}
INIT, JOIN = "/etc/kharden/kubeadm/init.yaml", "/etc/kharden/kubeadm/join.yaml"
DISCOVERY = """\
apiVersion: v1
kind: Config
clusters: [{name: it, cluster: {server: "https://127.0.0.1:7443", certificate-authority: /ca.crt}}]
users: [{name: it, user: {token: abcdef.0123456789abcdef}}]
contexts: [{name: it, context: {cluster: it, user: it}}]
current-context: it
"""
# What the kubelet says once its configuration is good: it is asked for something impossible before it does anything.
LENIENT = "strict decoding"  # … failed: it leaves out a key that it doesn't know, and says so
TAKEN = "cannot exit on lock file contention: no lock file specified"


@dataclass(frozen=True)
class Shape:
    """What kind of cluster."""

    version: str
    control_planes: int
    networks: str
    preset: Preset = "cis"
    lab: bool = False
    etcd: int = 0

    def __str__(self) -> str:
        where = "lab" if self.lab else self.networks
        apart = f", {self.etcd} machines of etcd" if self.etcd else ""
        return f"{self.version}, {self.preset}, {self.control_planes} control planes{apart}, {where}"

    def plan(self, folder: Path) -> ClusterPlan:
        """Its plan; its cluster.yaml is written into `folder`."""
        folder.mkdir()
        offsets = (*range(11, 11 + self.control_planes), 21, *range(31, 31 + self.etcd))
        return Planner(folder)(
            offsets=offsets,
            control_planes=self.control_planes,
            etcd=self.etcd,
            networks=self.networks,
            lab=facts(*(f"n{offset}" for offset in offsets)) if self.lab else None,
            kubernetes={"version": self.version},
            preset=self.preset,
            endpoint={"external": ["api.example.org", "198.51.100.9"]},
        )


SHAPES = [
    *(
        Shape(version, control_planes, networks, preset)
        for version in VERSIONS
        for preset in get_args(Preset)
        for control_planes in (1, 3)
        for networks in ("IPv4", "IPv6", "IPv4 and IPv6")
    ),
    *(Shape(version, 3, "IPv6 and IPv4") for version in VERSIONS),
    *(Shape(version, 1, "IPv4", lab=True) for version in VERSIONS),
    *(Shape(version, 2, "IPv4 and IPv6", etcd=3) for version in VERSIONS),
    *(Shape(version, 1, "IPv6", etcd=1) for version in VERSIONS),
]


# --- judges: each gives what it complains about, or nothing


def text(build: Build, node: str, path: str) -> str:
    files = next(each.files for each in build.nodes if each.node == node)
    return next(file.content for file in files if file.path == path).decode()


def validate(programs: Programs, path: Path, content: str) -> str:
    """What kubeadm says of a configuration. A key of another component that it doesn't know is only a warning to it."""
    path.write_text(content, encoding="utf-8")
    argv = [programs["kubeadm"], "config", "validate", f"--config={path}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env={"PATH": os.defpath})
    return "" if (done.returncode, done.stdout + done.stderr) == (0, "ok\n") else done.stdout + done.stderr


def kubeadm(programs: Programs, build: Build, folder: Path) -> str:
    discovery = folder / "discovery.conf"
    discovery.write_text(DISCOVERY, encoding="utf-8")
    complaints = []
    nodes = {node.name for node in build.plan.kubelets}
    for number, node in enumerate(each for each in build.nodes if each.node in nodes):
        complaints.append(validate(programs, folder / "init.yaml", text(build, node.node, INIT)))
        if number:
            join = text(build, node.node, JOIN).replace("/run/kharden/discovery.conf", str(discovery))
            complaints.append(validate(programs, folder / "join.yaml", join))
    return "".join(complaints)


def kubelet(programs: Programs, configuration: Mapping[str, Any], folder: Path) -> str:
    path = folder / "kubelet.yaml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    argv = [programs["kubelet"], f"--config={path}", "--exit-on-lock-contention", f"--root-dir={folder / 'kubelet'}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env={"PATH": os.defpath})
    return "" if TAKEN in done.stderr and LENIENT not in done.stderr else done.stderr


def documents(plane: ControlPlane) -> dict[str, dict[str, Any]]:
    content = plane.path(INIT).read_bytes()
    return {document["kind"]: document for document in yaml.safe_load_all(content)}


def kubelet_configuration(plane: ControlPlane) -> dict[str, Any]:
    """The kubelet's settings, with the authority's certificate where it lies here; this machine may have cgroup v1."""
    configuration = documents(plane)["KubeletConfiguration"]
    configuration["authentication"]["x509"]["clientCAFile"] = str(plane.path("/etc/kubernetes/pki/ca.crt"))
    return configuration | {"failCgroupV1": False}


def servers(plane: ControlPlane) -> str:
    """etcd and kube-apiserver, which has read all when it says so; it would take seconds more to come up whole."""
    try:
        with plane.run(plane.etcd(), "etcd") as etcd:
            etcd.wait_for_words("ready to serve client requests")
            with plane.run(plane.api_server(), "kube-apiserver") as server:
                server.wait_for_words(READ)
    except AssertionError as error:
        return str(error)
    return ""


def flags(plane: ControlPlane, name: str) -> str:
    """Whether a program knows its flags: asked for its version as well, it gives that once it has read them all."""
    done = subprocess.run([*plane.argv(name), "--version"], capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else done.stderr


def judged(shape: Shape, programs: Programs, folder: Path) -> dict[str, str]:
    """What each judge complains about."""
    folder.mkdir()
    try:
        plan = shape.plan(folder / "test")
        plane = placed(plan, programs, folder / "plane")
        return {
            "kubeadm": kubeadm(programs, rendered(plan), folder),
            "kubelet": kubelet(programs, kubelet_configuration(plane), folder),
            "etcd and kube-apiserver": servers(plane),
            **{name: flags(plane, name) for name in ("kube-controller-manager", "kube-scheduler")},
        }
    finally:
        shutil.rmtree(folder)  # the etcd of each shape writes 120 MB


# --- what they say


def judges(version: str) -> Programs:
    programs = found(version)
    if missing := JUDGES - programs.paths.keys():
        pytest.skip(f"needs {', '.join(sorted(missing))} of {version}, which `invoke test` builds")
    return programs


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_program_takes_what_is_rendered_for_it(shape: Shape, tmp_path: Path) -> None:
    for program, complaint in judged(shape, judges(shape.version), tmp_path / "it").items():
        assert not complaint, program


@pytest.fixture(scope="module", params=VERSIONS)
def plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ControlPlane:
    """One control plane of each version, whose files are spoilt and mended by tests."""
    folder = tmp_path_factory.mktemp("plane")
    shape = Shape(request.param, 1, "IPv4")
    return placed(shape.plan(folder / "test"), judges(request.param), folder / "node")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("kubernetesVersion: ", "kubernetesVersions: "),
        ("tlsMinVersion: VersionTLS12", "tlsMinimumVersion: VersionTLS12"),
        ("metricsBindAddress: ", "metricBindAddress: "),
        ('controlPlaneEndpoint: "127.0.0.1:7443"', 'controlPlaneEndpoint: "127.0.0.1:x"'),
        ("    - name: node-ip", "    - flag: node-ip"),
    ],
)
def test_kubeadm_would_not_take_something_else(plane: ControlPlane, tmp_path: Path, before: str, after: str) -> None:
    content = plane.path(INIT).read_text(encoding="utf-8")
    assert before in content
    assert validate(plane.programs, tmp_path / "init.yaml", content.replace(before, after))


@pytest.mark.parametrize("change", [{"podPidsLimits": 5}, {"readOnlyPort": -1}, {"featureGates": {"Unheard": True}}])
def test_the_kubelet_would_not_take_something_else(
    plane: ControlPlane, tmp_path: Path, change: dict[str, object]
) -> None:
    configuration = kubelet_configuration(plane)
    assert not kubelet(plane.programs, configuration, tmp_path)
    assert kubelet(plane.programs, configuration | change, tmp_path)


# --- every predicate is what the programs of its version say


def test_only_versions_with_judges_are_supported() -> None:
    assert tuple(Contract.of(version).minor for version in VERSIONS) == SUPPORTED


def test_key_exchanges_are_named_exactly_where_programs_can_be_told(plane: ControlPlane, tmp_path: Path) -> None:
    version = documents(plane)["ClusterConfiguration"]["kubernetesVersion"].removeprefix("v")
    known = Contract.of(version).names_key_exchanges
    configuration = kubelet_configuration(plane)
    assert ("tlsCurvePreferences" in configuration) is known
    assert bool(kubelet(plane.programs, configuration | {"tlsCurvePreferences": [29]}, tmp_path)) is not known
    argv = [flag for flag in plane.argv("kube-apiserver") if not flag.startswith("--tls-curve-preferences")]
    told = subprocess.run(
        [*argv, "--tls-curve-preferences=29", "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (told.returncode == 0) is known


@pytest.mark.parametrize("version", VERSIONS)
def test_own_images_are_listed_as_that_kubelet_finds_them(version: str, tmp_path: Path) -> None:
    plan = Shape(version, 1, "IPv4").plan(tmp_path / "test")
    configuration = list(yaml.safe_load_all(text(rendered(plan), "n11", INIT)))
    (found,) = [one for one in configuration if one["kind"] == "KubeletConfiguration"]
    listed = set(found["preloadedImagesVerificationAllowlist"])
    assert listed == set(own_images(plan))
    for image in lock.load().kubernetes(version).images:
        # pkg/kubelet/images/pullmanager/image_pull_policies.go: 1.35 compares with the tag, later ones without it.
        name = image.reference.rpartition(":")[0] if plan.contract.lists_images_by_name else image.reference
        assert name in listed or any(entry.endswith("/*") and name.startswith(entry[:-1]) for entry in listed)
