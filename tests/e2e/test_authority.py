"""A cluster whose certificate authority a company has made with its own tools: `invoke test --all`, not part of CI."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from kharden.seal import STORES, load_or_create_identity, seal
from tests.e2e.sites import Program, described, program

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
"""
REQUEST = (
    *("openssl", "req", "-x509", "-newkey", "rsa:3072", "-noenc", "-days", "3650"),
    *("-subj", "/O=Example Corp/CN=Kubernetes"),
    *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
)  # fmt: skip


@pytest.fixture
def authority(tmp_path: Path) -> bytes:
    """The company's certificate; it lies in the cluster's folder with its key, which is sealed."""
    made = tmp_path / "company"
    made.mkdir()
    subprocess.run([*REQUEST, "-keyout", made / "ca.key", "-out", made / "ca.crt"], check=True, capture_output=True)
    (tmp_path / "identity").mkdir(mode=0o700)
    identities, _ = load_or_create_identity({"KHARDEN_IDENTITY": f"{tmp_path}/identity/"}, create=STORES)
    folder = tmp_path / "inventories" / CLUSTER / "pki"
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes((made / "ca.crt").read_bytes())
    (folder / "ca.key.age").write_bytes(seal((made / "ca.key").read_bytes(), identities.recipients["roots"]))
    (made / "ca.key").unlink()
    return (folder / "ca.crt").read_bytes()


@pytest.fixture
def kharden(authority: bytes, tmp_path: Path) -> Iterator[Program]:
    """The program of this checkout, for a cluster of that authority; its nodes are gone afterwards."""
    assert authority
    with program(tmp_path, CLUSTER, cluster=described(CLUSTER, "10.80.0") + SUPPLIED) as run:
        yield run


def test_a_cluster_of_a_supplied_authority_comes_up_stays_as_it_is_and_proves_itself(
    kharden: Program, authority: bytes, tmp_path: Path
) -> None:
    told = kharden("render", "apply", "--yes")
    assert "took over the authority in" in told
    kharden("apply", "--yes")
    assert "nothing to change" in kharden("plan")
    kharden("verify")
    for name in ("cp1", "w1"):
        assert kharden.node(name, "cat /etc/kubernetes/pki/ca.crt").encode() == authority
    # Whoever trusts the company's certificate trusts the API: by openssl, from this machine.
    (tmp_path / "trusted.crt").write_bytes(authority)
    asked = ("openssl", "s_client", "-connect", "10.80.0.11:6443", "-verify_ip", "10.80.0.11", "-verify_return_error")
    said = subprocess.run(
        [*asked, "-CAfile", tmp_path / "trusted.crt"], check=False, input="", capture_output=True, text=True, timeout=60
    )
    assert "Verify return code: 0 (ok)" in said.stdout, said.stderr
