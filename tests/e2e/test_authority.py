"""A cluster as a company has it, with an authority of its own tools' and the API behind its own load balancer:
`invoke test --all`, not part of CI.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from kharden.lab.model import bridge_name
from kharden.seal import STORES, load_or_create_identity, seal
from tests.e2e.outside import balancer, kubectl
from tests.e2e.sites import Program, described, program
from tests.e2e.states import differences, state, steady_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.lab, pytest.mark.programs]

CLUSTER = "e2e-authority"
# RSA all through, while every other cluster of the tests has P-256.
SUPPLIED = """\
  pki:
    algorithm: RSA-3072
    authority: {certificate: pki/ca.crt, key: pki/ca.key.age}
  access: {api: [10.80.0.1/32]}
  endpoint: {external: [api.example.internal]}
"""
NODES = ("cp1", "w1")
# Of no node; the name leads there for kubectl alone.
BALANCER = "10.80.0.5"
CERTIFICATE = "/etc/kubernetes/pki/apiserver.crt"
SERVED = f"openssl x509 -noout -ext subjectAltName -in {CERTIFICATE}"
REQUEST = (
    *("openssl", "req", "-x509", "-newkey", "rsa:3072", "-noenc", "-days", "3650"),
    *("-subj", "/O=Example Corp/CN=Kubernetes"),
    *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def authority(site: Path) -> bytes:
    """The company's certificate; it lies in the cluster's folder with its key, which is sealed."""
    made = site / "company"
    made.mkdir()
    subprocess.run([*REQUEST, "-keyout", made / "ca.key", "-out", made / "ca.crt"], check=True, capture_output=True)
    (site / "identity").mkdir(mode=0o700)
    identities, _ = load_or_create_identity({"KHARDEN_IDENTITY": f"{site}/identity/"}, create=STORES)
    folder = site / "inventories" / CLUSTER / "pki"
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes((made / "ca.crt").read_bytes())
    (folder / "ca.key.age").write_bytes(seal((made / "ca.key").read_bytes(), identities.recipients["roots"]))
    (made / "ca.key").unlink()
    return (folder / "ca.crt").read_bytes()


@pytest.fixture(scope="module")
def kharden(authority: bytes, site: Path) -> Iterator[Program]:
    """The program of this checkout, for a cluster of that authority; its nodes are gone afterwards."""
    assert authority
    with program(site, CLUSTER, cluster=described(CLUSTER, "10.80.0") + SUPPLIED) as run:
        assert "took over the authority in" in run("render", "apply", "--yes")
        yield run


def test_a_cluster_of_a_supplied_authority_comes_up_stays_as_it_is_and_proves_itself(
    kharden: Program, authority: bytes, tmp_path: Path
) -> None:
    before = steady_state(kharden.node, NODES)
    assert "nothing to change" in kharden("apply", "--yes")
    assert differences(before, state(kharden.node, NODES)) == []
    assert "nothing to change" in kharden("plan")
    kharden("verify")
    for name in NODES:
        assert kharden.node(name, "cat /etc/kubernetes/pki/ca.crt").encode() == authority
    # Whoever trusts the company's certificate trusts the API: by openssl, from this machine.
    (tmp_path / "trusted.crt").write_bytes(authority)
    asked = ("openssl", "s_client", "-connect", "10.80.0.11:6443", "-verify_ip", "10.80.0.11", "-verify_return_error")
    said = subprocess.run(
        [*asked, "-CAfile", tmp_path / "trusted.crt"], check=False, input="", capture_output=True, text=True, timeout=60
    )
    assert "Verify return code: 0 (ok)" in said.stdout, said.stderr


@pytest.fixture
def hosts(kharden: Program, tmp_path: Path) -> Iterator[Path]:
    """A file of hosts that has the load balancer's name, while it is there."""
    assert kharden.cluster == CLUSTER
    path = tmp_path / "hosts"
    path.write_text(f"127.0.0.1 localhost\n{BALANCER} api.example.internal\n", encoding="utf-8")
    with balancer(tmp_path, bridge_name(CLUSTER), BALANCER, "10.80.0.11"):
        yield path


def names(kharden: Program) -> set[str]:
    """What the API server's certificate is for, each as its kind and its name."""
    found = kharden.node("cp1", SERVED).splitlines()[1]
    return {part.strip() for part in found.split(",")}


def test_people_reach_the_api_by_a_name_and_an_address_that_are_no_nodes(
    kharden: Program, hosts: Path, tmp_path: Path
) -> None:
    assert "DNS:api.example.internal" in names(kharden)
    person = tmp_path / "jane.kubeconfig"
    kharden("kubeconfig", "--user", "jane", "--output", str(person))
    (cluster,) = yaml.safe_load(person.read_text(encoding="utf-8"))["clusters"]
    assert cluster["cluster"]["server"] == "https://api.example.internal:6443"
    assert "kube-system" in kubectl(person, hosts, "get", "namespaces")
    by_address = ("--server", f"https://{BALANCER}:6443", "get", "namespaces")
    assert f"not {BALANCER}" in kubectl(person, hosts, *by_address)  # which the certificate isn't for

    path = kharden.site / "inventories" / CLUSTER / "cluster.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[api.example.internal]", f"[api.example.internal, {BALANCER}]"), encoding="utf-8")
    kharden("render")
    changes = json.loads(kharden("plan", "--json", status=2))["changes"]
    assert ("cp1", CERTIFICATE) in {(one["node"], each.get("path")) for one in changes for each in one["changes"]}
    kharden("apply", "--yes")
    assert f"IP Address:{BALANCER}" in names(kharden)
    assert "kube-system" in kubectl(person, hosts, *by_address)
    assert "kube-system" in kubectl(person, hosts, "get", "namespaces")
    before = steady_state(kharden.node, NODES)
    assert "nothing to change" in kharden("apply", "--yes")
    assert differences(before, state(kharden.node, NODES)) == []
    kharden("verify")
