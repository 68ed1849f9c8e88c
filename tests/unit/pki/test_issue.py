"""What is issued says what it shall say; the table is held against a list written down independently."""

from __future__ import annotations

import shutil
import subprocess
from datetime import timedelta
from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kharden.certificates.facts import key_matches, parse_one, signed_by
from kharden.errors import RefusedError
from kharden.pki.issue import Profile, issue, issue_authority, issue_leaf
from kharden.pki.tree import AUTHORITIES, LEAVES, SUPER_ADMIN
from kharden.plan.endpoints import Sans

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from kharden.pki.material import KeyedCertificate
    from kharden.plan.model import ClusterPlan
    from kharden.spec.types import IPAddress
    from tests.unit.pki.conftest import MakePlan

# Name: issuer, subject, extended usages: from kubeadm 1.36's certlist.go and kubeconfig.go.
_KUBEADM = {
    "apiserver": ("ca", "CN=kube-apiserver", {"server auth"}),
    "apiserver-kubelet-client": ("ca", "CN=kube-apiserver-kubelet-client", {"client auth"}),
    "apiserver-etcd-client": ("etcd-ca", "CN=kube-apiserver-etcd-client", {"client auth"}),
    "front-proxy-client": ("front-proxy-ca", "CN=front-proxy-client", {"client auth"}),
    "etcd-server": ("etcd-ca", "CN=cp1", {"server auth", "client auth"}),
    "etcd-peer": ("etcd-ca", "CN=cp1", {"server auth", "client auth"}),
    "etcd-healthcheck-client": ("etcd-ca", "CN=kube-etcd-healthcheck-client", {"client auth"}),
    "admin": ("ca", "CN=kubernetes-admin,O=kubeadm:cluster-admins", {"client auth"}),
    "super-admin": ("ca", "CN=kubernetes-super-admin,O=system:masters", {"client auth"}),
    "controller-manager": ("ca", "CN=system:kube-controller-manager", {"client auth"}),
    "scheduler": ("ca", "CN=system:kube-scheduler", {"client auth"}),
}
_ALGORITHMS = ["ECDSA-P256", "ECDSA-P384", "RSA-2048"]


# RSA keys take their time: trees are made once for each plan.
@cache
def _tree(plan: ClusterPlan, now: datetime) -> tuple[dict[str, KeyedCertificate], dict[str, KeyedCertificate]]:
    authorities: dict[str, KeyedCertificate] = {row.name: issue_authority(row, plan, now) for row in AUTHORITIES}
    leaves = {
        row.name: issue_leaf(row, authorities[row.issuer], plan, plan.nodes[0], now) for row in (*LEAVES, SUPER_ADMIN)
    }
    return authorities, leaves


def _x509(pair: KeyedCertificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate)


@pytest.mark.parametrize("algorithm", _ALGORITHMS)
def test_leaves_are_those_of_kubeadm_with_least_usages(make_plan: MakePlan, now: datetime, algorithm: str) -> None:
    authorities, leaves = _tree(make_plan(algorithm=algorithm), now)
    assert leaves.keys() == _KUBEADM.keys()
    for name, (issuer, subject, usages) in _KUBEADM.items():
        facts = parse_one(leaves[name].certificate, what=name)
        assert _x509(leaves[name]).subject.rfc4514_string() == subject
        assert facts.extended_usages == usages
        assert facts.key_usages == {"digital signature"} | ({"key encipherment"} if "RSA" in algorithm else set())
        assert (facts.algorithm, facts.is_ca) == (algorithm, False)
        assert bool(facts.dns) == ("server auth" in usages)
        assert key_matches(leaves[name].certificate, leaves[name].key, what=name)
        for other, authority in authorities.items():
            assert signed_by(leaves[name].certificate, authority.certificate, what=name) == (other == issuer)


@pytest.mark.parametrize("algorithm", _ALGORITHMS)
def test_authorities_sign_leaves_and_do_nothing_else(make_plan: MakePlan, now: datetime, algorithm: str) -> None:
    authorities, _ = _tree(make_plan(algorithm=algorithm), now)
    names = {
        "ca": "kubernetes",
        "etcd-ca": "etcd-ca",
        "front-proxy-ca": "front-proxy-ca",
        "people-ca": "kharden-people-ca",
    }
    assert {name: parse_one(pair.certificate, what=name).common_name for name, pair in authorities.items()} == names
    for name, pair in authorities.items():
        facts = parse_one(pair.certificate, what=name)
        basic = _x509(pair).extensions.get_extension_for_oid(ExtensionOID.BASIC_CONSTRAINTS)
        assert basic.critical
        assert basic.value == x509.BasicConstraints(ca=True, path_length=0)
        assert facts.key_usages == {"cert sign"}
        assert facts.extended_usages == ({"client auth"} if name in {"front-proxy-ca", "people-ca"} else set())
        assert (facts.algorithm, facts.organizations, facts.dns) == (algorithm, (), ())
        assert key_matches(pair.certificate, pair.key, what=name)


def test_extensions_are_critical_where_they_restrict_and_link_to_the_issuer(plan: ClusterPlan, now: datetime) -> None:
    authorities, leaves = _tree(plan, now)
    for pair in (*authorities.values(), *leaves.values()):
        extensions = _x509(pair).extensions
        assert extensions.get_extension_for_class(x509.BasicConstraints).critical
        assert extensions.get_extension_for_class(x509.KeyUsage).critical
    for name, (issuer, _, _) in _KUBEADM.items():
        own = _x509(leaves[name]).extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        above = _x509(authorities[issuer]).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert own.key_identifier == above.digest


def test_serials_are_random_positive_and_short_enough(plan: ClusterPlan, now: datetime) -> None:
    authorities, leaves = _tree(plan, now)
    serials = {_x509(pair).serial_number for pair in (*authorities.values(), *leaves.values())}
    assert len(serials) == len(authorities) + len(leaves)
    assert all(0 < serial < 1 << 159 for serial in serials)
    assert max(serials) > 1 << 120


def test_lives_are_the_plans_and_begin_a_little_before(make_plan: MakePlan, now: datetime) -> None:
    authorities, leaves = _tree(make_plan(authority_days=1000, leaf_days=30), now)
    for pairs, days in ((authorities, 1000), (leaves, 30)):
        for pair in pairs.values():
            facts = parse_one(pair.certificate, what="it")
            assert facts.not_before == now - timedelta(minutes=5)
            assert facts.not_after == now + timedelta(days=days)


def test_a_leaf_never_outlives_its_authority(make_plan: MakePlan, now: datetime) -> None:
    plan = make_plan(authority_days=30, leaf_days=365)
    authority = issue_authority(AUTHORITIES[0], plan, now)
    later = now + timedelta(days=20)
    leaf = parse_one(issue_leaf(LEAVES[0], authority, plan, plan.nodes[0], later).certificate, what="leaf")
    assert leaf.not_after == now + timedelta(days=30)
    first = parse_one(issue_leaf(LEAVES[0], authority, plan, plan.nodes[0], now).certificate, what="leaf")
    assert first.not_before == now - timedelta(minutes=5)


@pytest.mark.parametrize("days", [31, -400])
def test_an_authority_outside_its_life_issues_nothing(make_plan: MakePlan, now: datetime, days: int) -> None:
    plan = make_plan(authority_days=30)
    authority = issue_authority(AUTHORITIES[0], plan, now)
    with pytest.raises(RefusedError, match="kubernetes is good from 2026-03-01 to 2026-03-31"):
        issue_leaf(LEAVES[0], authority, plan, plan.nodes[0], now + timedelta(days=days))


def test_the_api_server_is_called_as_kubeadm_calls_it_and_as_people_do(make_plan: MakePlan, now: datetime) -> None:
    plan = make_plan(
        addresses="2001:db8::{}",
        services=("fd00:96::/108", "10.96.0.0/16"),
        external=("api.example.org", "2001:db8:1::5", "198.51.100.7"),
    )
    _, leaves = _tree(plan, now)
    facts = parse_one(leaves["apiserver"].certificate, what="apiserver")
    assert set(facts.dns) == {
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "cp1",
        "localhost",
        "api.example.org",
    }
    addresses = ["fd00:96::1", "10.96.0.1", "2001:db8::11", "127.0.0.1", "2001:db8:1::5", "198.51.100.7"]
    assert set(facts.addresses) == set(map(ip_address, addresses))
    etcd = parse_one(leaves["etcd-peer"].certificate, what="etcd-peer")
    assert set(etcd.dns) == {"cp1", "localhost"}
    assert set(etcd.addresses) == set(map(ip_address, ["2001:db8::11", "127.0.0.1", "::1"]))


_LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
_HOSTS = st.lists(st.lists(_LABEL, min_size=1, max_size=3).map(".".join), max_size=6, unique=True)
_ADDRESSES = st.lists(st.ip_addresses(), max_size=6, unique=True)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(dns=_HOSTS, addresses=_ADDRESSES)
def test_names_come_back_as_they_were_given(
    plan: ClusterPlan, now: datetime, dns: list[str], addresses: list[IPAddress]
) -> None:
    sans = Sans(tuple(dns), tuple(addresses))
    authority = issue_authority(AUTHORITIES[0], plan, now)
    pair = issue(Profile("it", (), ("server auth",), sans), authority, "ECDSA-P256", now, now + timedelta(days=1))
    facts = parse_one(pair.certificate, what="it")
    assert (facts.dns, facts.addresses, facts.other_names) == (sans.dns, sans.ip, ())


def _verify(pair: KeyedCertificate, authority: KeyedCertificate, folder: Path, *options: str) -> bool:
    (folder / "ca.crt").write_bytes(authority.certificate)
    (folder / "leaf.crt").write_bytes(pair.certificate)
    command = ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-CAfile", "ca.crt", *options, "leaf.crt"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the program openssl")
@pytest.mark.parametrize("algorithm", _ALGORITHMS)
def test_openssl_judges_the_same(make_plan: MakePlan, now: datetime, tmp_path: Path, algorithm: str) -> None:
    authorities, leaves = _tree(make_plan(algorithm=algorithm), now)
    at = ("-attime", str(int(now.timestamp())))
    for name, (issuer, _, usages) in _KUBEADM.items():
        for usage, purpose in (("server auth", "sslserver"), ("client auth", "sslclient")):
            good = _verify(leaves[name], authorities[issuer], tmp_path, *at, "-purpose", purpose)
            assert good == (usage in usages), (name, purpose)
        assert not _verify(leaves[name], authorities["people-ca"], tmp_path, *at)
    server, authority = leaves["apiserver"], authorities["ca"]
    assert _verify(server, authority, tmp_path, *at, "-verify_ip", "192.0.2.11")
    assert _verify(server, authority, tmp_path, *at, "-verify_hostname", "kubernetes.default.svc")
    assert not _verify(server, authority, tmp_path, *at, "-verify_ip", "192.0.2.12")
    assert not _verify(server, authority, tmp_path, "-attime", str(int(now.timestamp()) + 400 * 86400))
