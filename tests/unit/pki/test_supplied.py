"""A cluster's authority that the user supplies: what is taken, what is refused, and that nothing is replaced."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from kharden.certificates.facts import key_matches, parse_one, signed_by
from kharden.errors import InputError, IntegrityError, KhardenError, MissingError, RefusedError
from kharden.pki.bundle import load_or_create
from kharden.pki.tree import AUTHORITIES, LEAVES
from kharden.plan.model import AuthorityPlan
from kharden.seal import STORES, Identities, load_or_create_identity, seal
from tests.unit.pki.authorities import Authority, key_usage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kharden.pki.contents import Secrets
    from kharden.plan.model import ClusterPlan
    from tests.unit.pki.conftest import MakePlan

_DAY = timedelta(days=1)
_FILES = AuthorityPlan("pki/ca.crt", "pki/ca.key.age")


@pytest.fixture
def plan(make_plan: MakePlan) -> ClusterPlan:
    return make_plan(authority=_FILES)


@pytest.fixture
def place(folder: Path) -> Path:
    """The cluster's folder."""
    folder.parent.mkdir(parents=True)
    return folder.parent


@pytest.fixture
def own(identities: Identities) -> str:
    """Whom the key is sealed for."""
    return identities.recipients["roots"][0]


@pytest.fixture
def create(plan: ClusterPlan, folder: Path, identities: Identities, now: datetime) -> Callable[[], Secrets]:
    return lambda: load_or_create(plan, folder, identities, now)[0]


def _refused(create: Callable[[], Secrets], kind: type[KhardenError], text: str, folder: Path) -> KhardenError:
    """Nothing is made where the authority is refused."""
    with pytest.raises(kind, match=text) as caught:
        create()
    assert not folder.exists()
    assert [path.name for path in folder.parent.iterdir()] in (["pki"], [])
    assert caught.value.remedy
    return caught.value


# What is taken


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
        rsa.generate_private_key(65537, 3072),
    ],
    ids=["P-256", "P-384", "RSA-2048", "RSA-3072"],
)
def test_it_signs_what_the_clusters_own_would_sign(
    create: Callable[[], Secrets], place: Path, own: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> None:
    supplied = Authority(key=key)
    supplied.supply(place, own)
    secrets = create()
    assert secrets.authority == supplied.certificate
    for row in LEAVES:
        leaf = secrets.leaves.nodes["cp1"][row.name]
        assert signed_by(leaf.certificate, supplied.certificate, what=row.name) is (row.issuer == "ca")
        assert parse_one(leaf.certificate, what=row.name).algorithm == "ECDSA-P256"
    roots = secrets.roots.open()
    assert key_matches(supplied.certificate, roots.authorities["ca"].key, what="ca")
    assert roots.authorities["ca"].key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert len({parse_one(roots.authorities[row.name].certificate, what="").sha256 for row in AUTHORITIES}) == 4


def test_it_is_said_and_kept(  # noqa: PLR0917  # pytest gives them by name
    plan: ClusterPlan, folder: Path, place: Path, own: str, identities: Identities, now: datetime
) -> None:
    Authority().supply(place, own)
    first, notes = load_or_create(plan, folder, identities, now)
    assert f"took over the authority in {place / 'pki/ca.crt'}" in notes
    assert any("made 3 authorities" in note for note in notes)
    (place / "pki/ca.key.age").unlink()
    again, notes = load_or_create(plan, folder, identities, now + _DAY)
    assert (again.authority, again.leaves.nodes) == (first.authority, first.leaves.nodes)
    assert notes == ()


def test_another_algorithm_of_it_is_no_news(  # noqa: PLR0917  # pytest gives them by name
    make_plan: MakePlan, folder: Path, place: Path, own: str, identities: Identities, now: datetime
) -> None:
    Authority(key=rsa.generate_private_key(65537, 3072)).supply(place, own)
    plan = make_plan(authority=_FILES, algorithm="ECDSA-P384")
    load_or_create(plan, folder, identities, now)
    assert load_or_create(plan, folder, identities, now)[1] == ()


def test_a_twin_of_an_intermediate_one_signs_for_both(create: Callable[[], Secrets], place: Path, own: str) -> None:
    """The remedy for an intermediate authority: whoever trusts the company's root trusts these leaves by its chain."""
    twin = Authority()
    twin.supply(place, own)
    intermediate = Authority(key=twin.key, parent=Authority("Example Corp Root CA"))
    leaf = create().leaves.nodes["cp1"]["apiserver"].certificate
    assert signed_by(leaf, intermediate.certificate, what="apiserver")


@pytest.mark.parametrize("form", ["traditional", "pkcs8", "armored"])
def test_the_key_may_have_any_usual_form(create: Callable[[], Secrets], place: Path, own: str, form: str) -> None:
    supplied = Authority(key=rsa.generate_private_key(65537, 2048))
    supplied.supply(place, own)
    if form == "pkcs8":
        (place / _FILES.key).write_bytes(seal(supplied.key_pem(serialization.PrivateFormat.PKCS8), [own]))
    if form == "armored":
        text = _armored((place / _FILES.key).read_bytes())
        (place / _FILES.key).write_bytes(text)
    assert create().authority == supplied.certificate


def _armored(binary: bytes) -> bytes:
    from base64 import b64encode  # noqa: PLC0415  # this form alone needs it

    text = b64encode(binary)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN AGE ENCRYPTED FILE-----", *lines, b"-----END AGE ENCRYPTED FILE-----", b""])


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the program openssl")
def test_openssl_makes_one_and_judges_what_it_signs(  # noqa: PLR0917  # pytest gives them by name
    plan: ClusterPlan, folder: Path, place: Path, own: str, identities: Identities, tmp_path: Path
) -> None:
    """Its name has other string types than ours have: a chain is by bytes of names."""
    (place / "pki").mkdir()
    key = tmp_path / "plain.key"
    _openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", str(key))
    _openssl(
        *("req", "-x509", "-new", "-key", str(key), "-days", "3000", "-out", str(place / "pki/ca.crt")),
        *("-subj", "/C=CH/O=Example Corp/OU=PKI + Zürich/CN=Example CA", "-utf8"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    (place / "pki/ca.key.age").write_bytes(seal(key.read_bytes(), [own]))
    secrets, _ = load_or_create(plan, folder, identities, datetime.now(UTC))
    for name in ("apiserver", "admin"):
        (tmp_path / "leaf.pem").write_bytes(secrets.leaves.nodes["cp1"][name].certificate)
        _openssl("verify", "-x509_strict", "-CAfile", str(place / "pki/ca.crt"), str(tmp_path / "leaf.pem"))


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


# What is refused


_EXTENDED = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
_CONSTRAINTS = x509.NameConstraints([x509.DNSName("example.org")], None)
_UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


@pytest.mark.parametrize(
    ("authority", "reason"),
    [
        (Authority(basic=None), "it is no CA"),
        (Authority(parent=Authority("Example Corp Root CA")), "it is an intermediate one"),
        (Authority(parent=Authority()), "its signature is not its own"),
        (Authority(basic=x509.BasicConstraints(ca=False, path_length=None)), "it is no CA"),
        (Authority(usage=None), "may not sign certificates"),
        (Authority(usage=key_usage(sign=False)), "may not sign certificates"),
        (Authority(others=((_EXTENDED, False),)), "not for clients"),
        (Authority(others=((_CONSTRAINTS, True),)), "name constraints"),
        (Authority(others=((_UNKNOWN, True),)), "critical extension 1.2.3.4"),
        (Authority(identifier=False), "no subject key identifier"),
        (Authority(ends=Authority().begins + _DAY), "it expired on 2026-01-31"),
        (Authority(begins=Authority().ends - _DAY), "good only from 2031"),
        (Authority(ends=datetime(2027, 2, 1, tzinfo=UTC)), "sooner than a leaf of 365 days"),
        (Authority(key=rsa.generate_private_key(65537, 1024)), "its key is RSA-1024"),  # noqa: S505  # that is the test
        (Authority(key=rsa.generate_private_key(3, 2048)), "exponent 3"),
        (Authority(key=ec.generate_private_key(ec.SECP521R1())), "its key is ECDSA-P521"),
        (Authority(key=ec.generate_private_key(ec.SECP224R1())), "its key is ECDSA-secp224r1"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_cant_be_an_authority_is_refused_with_every_reason(  # noqa: PLR0917  # pytest gives them by name
    create: Callable[[], Secrets], folder: Path, place: Path, own: str, authority: Authority, reason: str
) -> None:
    authority.supply(place, own)
    error = _refused(create, InputError, reason, folder)
    assert str(place / "pki/ca.crt") in error.message
    assert "\n" not in str(error)


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the program openssl")
def test_a_weak_signature_is_refused(create: Callable[[], Secrets], folder: Path, place: Path, own: str) -> None:
    weak = Authority(key=rsa.generate_private_key(65537, 2048))
    weak.supply(place, own)
    (place / "plain.key").write_bytes(weak.key_pem())
    _openssl(
        *("req", "-x509", "-new", "-sha1", "-key", str(place / "plain.key"), "-out", str(place / _FILES.certificate)),
        *("-subj", "/CN=Example CA", "-addext", "keyUsage=critical,keyCertSign"),
    )
    (place / "plain.key").unlink()
    _refused(create, InputError, "signed with SHA1", folder)


def test_a_key_of_another_certificate_stops(create: Callable[[], Secrets], folder: Path, place: Path, own: str) -> None:
    Authority().supply(place, own)
    (place / _FILES.key).write_bytes(seal(Authority().key_pem(), [own]))
    _refused(create, IntegrityError, "is not the key of", folder)


@pytest.mark.parametrize("name", ["ca.key.age", "ca.crt"])
def test_a_key_in_the_clear_is_refused_and_never_shown(
    create: Callable[[], Secrets], folder: Path, place: Path, own: str, name: str
) -> None:
    supplied = Authority()
    supplied.supply(place, own)
    path = place / "pki" / name
    path.write_bytes((path.read_bytes() if name == "ca.crt" else b"") + supplied.key_pem())
    error = _refused(create, RefusedError, "in the clear", folder)
    assert "age" in error.remedy
    assert supplied.key_pem().splitlines()[1].decode() not in str(error)


def test_a_key_in_the_clear_is_refused_ever_after(create: Callable[[], Secrets], place: Path, own: str) -> None:
    supplied = Authority()
    supplied.supply(place, own)
    create()
    (place / _FILES.key).write_bytes(supplied.key_pem())
    with pytest.raises(RefusedError, match="in the clear"):
        create()


def test_only_the_identity_of_the_roots_is_asked(
    create: Callable[[], Secrets], folder: Path, place: Path, own: str, identities: Identities
) -> None:
    for recipient in (identities.recipients["leaves"][0], _stranger(folder)):
        Authority().supply(place, recipient)
        error = _refused(create, MissingError, "no identity", folder)
        assert f"age -r {own} -o ca.key.age" in error.remedy


def _stranger(folder: Path) -> str:
    return load_or_create_identity({"HOME": str(folder.parents[3] / "other")}, create=STORES)[0].recipients["roots"][0]


@pytest.mark.parametrize("content", [b"", b"nothing that is sealed", b"age-encryption.org/v1\n-> X25519 "])
def test_a_file_that_is_not_sealed_says_how_to(
    create: Callable[[], Secrets], folder: Path, place: Path, own: str, content: bytes
) -> None:
    Authority().supply(place, own)
    (place / _FILES.key).write_bytes(content)
    assert "age -r" in _refused(create, IntegrityError, "not a file sealed with age", folder).remedy


def test_what_is_sealed_must_be_a_key_without_a_passphrase(
    create: Callable[[], Secrets], folder: Path, place: Path, own: str
) -> None:
    supplied = Authority()
    locked = supplied.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for content in (locked, other, b"no key"):
        supplied.supply(place, own)
        (place / _FILES.key).write_bytes(seal(content, [own]))
        _refused(create, InputError, "no private key in PEM without a passphrase", folder)


def test_missing_files_are_named(create: Callable[[], Secrets], folder: Path, place: Path, own: str) -> None:
    for name in (_FILES.certificate, _FILES.key):
        Authority().supply(place, own)
        (place / name).unlink()
        assert str(place / name) in _refused(create, MissingError, "can't be read", folder).message


def test_what_is_no_certificate_is_named(create: Callable[[], Secrets], folder: Path, place: Path, own: str) -> None:
    Authority().supply(place, own)
    (place / _FILES.certificate).write_bytes(Authority().certificate * 2)
    _refused(create, InputError, "2 certificates where one", folder)
    (place / _FILES.certificate).write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    _refused(create, InputError, "not a certificate in PEM", folder)


# What is never replaced


def test_another_authority_than_the_clusters_stops(
    create: Callable[[], Secrets], folder: Path, place: Path, own: str
) -> None:
    Authority().supply(place, own)
    create()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    Authority().supply(place, own)
    with pytest.raises(RefusedError, match="another authority than the one"):
        create()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_authority_for_a_cluster_that_has_its_own_stops(  # noqa: PLR0917  # pytest gives them by name
    make_plan: MakePlan, plan: ClusterPlan, folder: Path, place: Path, own: str, identities: Identities, now: datetime
) -> None:
    load_or_create(make_plan(), folder, identities, now)
    Authority().supply(place, own)
    with pytest.raises(RefusedError, match="rotation"):
        load_or_create(plan, folder, identities, now)


def test_a_spec_that_no_longer_names_it_keeps_it(  # noqa: PLR0917  # pytest gives them by name
    make_plan: MakePlan,
    create: Callable[[], Secrets],
    folder: Path,
    place: Path,
    own: str,
    identities: Identities,
    now: datetime,
) -> None:
    Authority().supply(place, own)
    first = create()
    assert load_or_create(make_plan(), folder, identities, now)[0].authority == first.authority
