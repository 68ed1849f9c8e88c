"""What the certificates mean: real TLS handshakes, both sides asking for a certificate."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from kharden.pki.bundle import load_or_create
from kharden.pki.people import issue_person
from kharden.pki.views import client_authorities
from kharden.seal import STORES, load_or_create_identity

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.pki.contents import Secrets
    from kharden.pki.material import KeyedCertificate
    from tests.unit.pki.conftest import MakePlan


def _context(side: int, pair: KeyedCertificate, trusted: bytes, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=trusted.decode())
    path = folder / "pair.pem"
    path.write_bytes(pair.certificate + pair.key)
    context.load_cert_chain(path)
    path.unlink()
    return context


def _shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """Both ends in memory; raises what the end that refuses raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert ends == []


@pytest.fixture(scope="module", params=["ECDSA-P256", "ECDSA-P384", "RSA-2048"])
def secrets(request: pytest.FixtureRequest, make_plan: MakePlan, tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    folder = tmp_path_factory.mktemp("cluster")
    identities, _ = load_or_create_identity({"HOME": str(folder)}, create=STORES)
    plan = make_plan(algorithm=request.param, addresses="2001:db8::{}", services=("fd00::/108",))
    # The library takes no time of ours: these are issued for today.
    return load_or_create(plan, folder / "secrets", identities, datetime.now(UTC))[0]


def _api_server(secrets: Secrets, folder: Path) -> ssl.SSLContext:
    return _context(
        ssl.PROTOCOL_TLS_SERVER, secrets.leaves.nodes["cp1"]["apiserver"], client_authorities(secrets), folder
    )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_api_server_and_its_clients_trust_each_other(
    secrets: Secrets, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    server = _api_server(secrets, tmp_path)
    server.maximum_version = version
    for name in ("127.0.0.1", "2001:db8::11", "fd00::1", "kubernetes.default.svc", "cp1"):
        for client in ("admin", "controller-manager", "scheduler"):
            pair = secrets.leaves.nodes["cp1"][client]
            _shake(server, _context(ssl.PROTOCOL_TLS_CLIENT, pair, secrets.authority, tmp_path), name)


def test_a_name_that_is_not_the_servers_is_refused(secrets: Secrets, tmp_path: Path) -> None:
    client = _context(ssl.PROTOCOL_TLS_CLIENT, secrets.leaves.nodes["cp1"]["admin"], secrets.authority, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        _shake(_api_server(secrets, tmp_path), client, "2001:db8::12")


def test_etcd_takes_no_certificate_of_the_cluster(secrets: Secrets, tmp_path: Path) -> None:
    leaves, authorities = secrets.leaves.nodes["cp1"], secrets.leaves.trust.authorities
    etcd = _context(ssl.PROTOCOL_TLS_SERVER, leaves["etcd-server"], authorities["etcd-ca"], tmp_path)
    for client, good in (("apiserver-etcd-client", True), ("etcd-peer", True), ("admin", False)):
        context = _context(ssl.PROTOCOL_TLS_CLIENT, leaves[client], authorities["etcd-ca"], tmp_path)
        if good:
            _shake(etcd, context, "127.0.0.1")
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                _shake(etcd, context, "127.0.0.1")


def test_a_person_gets_in_as_a_client_and_never_serves(secrets: Secrets, tmp_path: Path) -> None:
    person = issue_person(secrets.roots.open(), "jane", ("auditors",), datetime.now(UTC), timedelta(minutes=10))
    _shake(
        _api_server(secrets, tmp_path),
        _context(ssl.PROTOCOL_TLS_CLIENT, person, secrets.authority, tmp_path),
        "127.0.0.1",
    )
    admin = secrets.leaves.nodes["cp1"]["admin"]
    trusting = _context(ssl.PROTOCOL_TLS_CLIENT, admin, client_authorities(secrets), tmp_path)
    trusting.check_hostname = False
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        _shake(_context(ssl.PROTOCOL_TLS_SERVER, person, client_authorities(secrets), tmp_path), trusting, "127.0.0.1")


def test_without_the_people_authority_nobody_of_them_gets_in(secrets: Secrets, tmp_path: Path) -> None:
    person = issue_person(secrets.roots.open(), "jane", (), datetime.now(UTC))
    server = _context(ssl.PROTOCOL_TLS_SERVER, secrets.leaves.nodes["cp1"]["apiserver"], secrets.authority, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake(server, _context(ssl.PROTOCOL_TLS_CLIENT, person, secrets.authority, tmp_path), "127.0.0.1")
