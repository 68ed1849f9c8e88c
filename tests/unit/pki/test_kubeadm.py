"""kubeadm itself is the judge: it keeps every file of the tree byte for byte and makes none."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa

from kharden.certificates.facts import parse_one
from kharden.pki.bundle import load_or_create
from kharden.pki.views import ControlPlaneSecrets, KeyedCertificate, for_control_plane
from kharden.plan.endpoints import bracketed
from kharden.plan.model import AuthorityPlan
from kharden.seal import STORES, load_or_create_identity
from tests.unit.pki.authorities import Authority

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan, NodePlan
    from tests.unit.pki.conftest import MakePlan

pytestmark = pytest.mark.programs

_KUBECONFIGS = ("admin", "controller-manager", "scheduler")


@pytest.fixture(scope="module")
def kubeadm() -> Path:
    path = Path(os.environ.get("KHARDEN_PROGRAMS", "")) / "kubeadm"
    if not path.is_absolute() or not path.exists():
        pytest.skip("needs kubeadm in the folder that KHARDEN_PROGRAMS names")
    return path


@dataclass(frozen=True)
class Node:
    """A folder as /etc/kubernetes of a control plane, and the kubeadm that looks at it."""

    kubeadm: Path
    folder: Path

    def run(self, *arguments: str) -> str:
        result = subprocess.run(
            [self.kubeadm, *arguments], capture_output=True, text=True, check=False, cwd=self.folder, env={"PATH": ""}
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def files(self) -> dict[str, tuple[bytes, int]]:
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def _kubeconfig(share: ControlPlaneSecrets, pair: KeyedCertificate, server: str) -> bytes:
    def text(content: bytes) -> str:
        return base64.b64encode(content).decode()

    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [
                {"name": "it", "cluster": {"server": server, "certificate-authority-data": text(share.authority)}}
            ],
            "users": [
                {
                    "name": "it",
                    "user": {
                        "client-certificate-data": text(pair.certificate),
                        "client-key-data": text(pair.key),
                    },
                }
            ],
        }
    ).encode()


def _configuration(plan: ClusterPlan, node: NodePlan, folder: Path) -> str:
    documents = [
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "InitConfiguration",
            "localAPIEndpoint": {"advertiseAddress": str(node.address)},
            "nodeRegistration": {"name": node.name, "criSocket": "unix:///nonexistent.sock"},
        },
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "clusterName": plan.name,
            "kubernetesVersion": f"v{plan.kubernetes}",
            "controlPlaneEndpoint": plan.endpoint,
            "certificatesDir": str(folder / "pki"),
            "encryptionAlgorithm": plan.pki.algorithm,
            "networking": {"serviceSubnet": ",".join(map(str, plan.service_cidrs))},
            "apiServer": {"certSANs": [*plan.external, *plan.pki.extra_sans]},
        },
    ]
    return "\n---\n".join(map(json.dumps, documents))


@dataclass(frozen=True)
class Case:
    """A plan, one of its control planes and what that holds."""

    plan: ClusterPlan
    node: NodePlan
    share: ControlPlaneSecrets


@pytest.fixture(scope="module", params=["ECDSA-P256", "RSA-2048", "IPv6", "supplied"])
def case(request: pytest.FixtureRequest, make_plan: MakePlan, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder, six, supplied = tmp_path_factory.mktemp("cluster"), request.param == "IPv6", request.param == "supplied"
    identities, _ = load_or_create_identity({"HOME": str(folder)}, create=STORES)
    if supplied:
        key, now = rsa.generate_private_key(65537, 3072), datetime.now(UTC)
        Authority(key=key, ends=now + timedelta(days=3649)).supply(folder, identities.recipients["roots"][0])
    plan = make_plan(
        control_planes=2,
        algorithm={"IPv6": "ECDSA-P384", "supplied": "RSA-3072"}.get(request.param, request.param),
        authority=AuthorityPlan("pki/ca.crt", "pki/ca.key.age") if supplied else None,
        addresses="2001:db8::{}" if six else "192.0.2.{}",
        services=("fd00:96::/108",) if six else ("10.96.0.0/16",),
        external=("api.example.org", "2001:db8::99"),
        extra_sans=("k8s.example.org", "2001:db8::98"),
    )
    # kubeadm looks at the machine's clock.
    secrets, _ = load_or_create(plan, folder / "secrets", identities, datetime.now(UTC))
    own = plan.control_planes[1]
    return Case(plan, own, for_control_plane(secrets, own))


@pytest.fixture
def node(kubeadm: Path, case: Case, tmp_path: Path) -> Node:
    place = tmp_path / "kubernetes"
    for file in case.share.files:
        path = place / "pki" / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    local = f"https://{bracketed(case.node.address)}:6443"
    for name in _KUBECONFIGS:
        server = f"https://{case.plan.endpoint}" if name == "admin" else local
        (place / f"{name}.conf").write_bytes(_kubeconfig(case.share, _pair(case.share, name), server))
    (place / "init.yaml").write_text(_configuration(case.plan, case.node, place))
    return Node(kubeadm, place)


@pytest.fixture
def own_node(kubeadm: Path, case: Case, tmp_path: Path) -> Node:
    """A folder in which kubeadm made everything itself, from the same configuration."""
    place = tmp_path / "own"
    place.mkdir()
    (place / "init.yaml").write_text(_configuration(case.plan, case.node, place))
    node = Node(kubeadm, place)
    node.run("init", "phase", "certs", "all", "--config", "init.yaml")
    for name in _KUBECONFIGS:
        node.run(*("init", "phase", "kubeconfig", name, "--config", "init.yaml", "--kubeconfig-dir", str(place)))
    return node


def _pair(share: ControlPlaneSecrets, name: str) -> KeyedCertificate:
    return {"admin": share.admin, "controller-manager": share.controller_manager, "scheduler": share.scheduler}[name]


def _embedded(kubeconfig: Path) -> bytes:
    user = yaml.safe_load(kubeconfig.read_bytes())["users"][0]["user"]
    return base64.b64decode(user["client-certificate-data"])


def test_certificates_say_what_kubeadms_own_say(case: Case, own_node: Node) -> None:
    ours = {file.path: file.content for file in case.share.files if file.path.endswith(".crt")}
    del ours["client-ca.crt"]
    theirs = {path: (own_node.folder / "pki" / path).read_bytes() for path in ours}
    for name in _KUBECONFIGS:
        ours[name], theirs[name] = _pair(case.share, name).certificate, _embedded(own_node.folder / f"{name}.conf")
    made = {path.removeprefix("pki/") for path in own_node.files() if path.endswith(".crt")}
    assert made == ours.keys() - set(_KUBECONFIGS)
    for path, pem in theirs.items():
        own, other = parse_one(ours[path], what=path), parse_one(pem, what=path)
        assert own.is_ca is other.is_ca
        if path != "ca.crt" or case.plan.pki.authority is None:
            assert (own.common_name, own.organizations) == (other.common_name, other.organizations)
            assert own.algorithm == other.algorithm
        assert own.key_usages <= other.key_usages
        if not own.is_ca:
            assert own.extended_usages == other.extended_usages
            assert set(other.dns) <= set(own.dns)
            assert set(own.dns) - set(other.dns) <= {"localhost"}
            assert set(own.addresses) == set(other.addresses)


def test_kubeadm_keeps_every_certificate_and_key(node: Node) -> None:
    before = node.files()
    assert not {"pki/etcd/ca.key", "pki/front-proxy-ca.key"} & before.keys()
    said = node.run("init", "phase", "certs", "all", "--config", "init.yaml")
    assert node.files() == before
    assert said.count("Using existing") == 10
    assert "WARNING" not in said


def test_kubeadm_makes_what_is_taken_away_so_that_keeping_means_something(node: Node) -> None:
    for suffix in ("crt", "key"):
        (node.folder / f"pki/apiserver.{suffix}").unlink()
    before = node.files()
    node.run("init", "phase", "certs", "all", "--config", "init.yaml")
    assert node.files().keys() - before.keys() == {"pki/apiserver.crt", "pki/apiserver.key"}


def test_kubeadm_keeps_every_kubeconfig(node: Node) -> None:
    before = node.files()
    for name in _KUBECONFIGS:
        said = node.run(
            *("init", "phase", "kubeconfig", name, "--config", "init.yaml", "--kubeconfig-dir", str(node.folder))
        )
        assert "Using existing kubeconfig file" in said
        assert "unexpected API Server" not in said
    assert node.files() == before


def test_kubeadm_reads_the_life_of_every_certificate(node: Node) -> None:
    before = node.files()
    said = node.run("certs", "check-expiration", "--config", "init.yaml", "--cert-dir", str(node.folder / "pki"))
    assert node.files() == before
    lines = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    names = ["apiserver", "apiserver-etcd-client", "apiserver-kubelet-client", "etcd-healthcheck-client"]
    for name in [*names, "etcd-peer", "etcd-server", "front-proxy-client"]:
        assert "364d" in lines[name]
    for name in ("ca", "etcd-ca", "front-proxy-ca"):
        assert "9y" in lines[name]
