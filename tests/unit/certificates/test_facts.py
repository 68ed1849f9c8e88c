from __future__ import annotations

import base64
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from kharden.certificates.facts import key_matches, key_name, parse, parse_one, signed_by
from kharden.errors import IntegrityError

_START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_PEM = serialization.Encoding.PEM


def _name(common_name: str, *organizations: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
    subject: x509.Name | None = None,
) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name("someone", "a", "b") if subject is None else subject)
        .issuer_name(_name("issuer"))
        .public_key(key.public_key())
        .serial_number(0x1234)
        .not_valid_before(_START)
        .not_valid_after(_START + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(_PEM)


_DAMAGED: dict[str, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "ECDSA": ec.generate_private_key(ec.SECP256R1()),
}


def _as_pem(der: bytes) -> bytes:
    return b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(der) + b"-----END PRIVATE KEY-----\n"


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def test_everything_a_certificate_says() -> None:
    key = _key()
    names = [
        x509.DNSName("node.example.org"),
        x509.IPAddress(ip_address("192.0.2.1")),
        x509.IPAddress(ip_address("2001:db8::1")),
        x509.RFC822Name("a@example.org"),
    ]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING]
    facts = parse_one(
        _certificate(key, key, x509.SubjectAlternativeName(names), x509.ExtendedKeyUsage(usages)), what="it"
    )
    assert (facts.common_name, facts.organizations, facts.issuer) == ("someone", ("a", "b"), "CN=issuer")
    assert facts.dns == ("node.example.org",)
    assert facts.addresses == (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
    assert facts.other_names == ("RFC822Name:a@example.org",)
    assert facts.extended_usages == {"server auth", "1.3.6.1.5.5.7.3.3"}
    assert (facts.not_before, facts.not_after) == (_START, _START + timedelta(days=1))
    assert (facts.serial, facts.algorithm, facts.is_ca) == (0x1234, "ECDSA-P256", False)
    assert len(facts.sha256) == 64


def test_a_bare_certificate_has_no_usages_and_is_no_authority() -> None:
    key = _key()
    facts = parse_one(_certificate(key, key, subject=x509.Name([])), what="it")
    assert (facts.common_name, facts.organizations, facts.key_usages) == ("", (), frozenset())
    assert not facts.is_ca


def test_a_bundle_is_read_in_its_order() -> None:
    key = _key()
    bundle = b"".join(_certificate(key, key, subject=_name(name)) for name in ("one", "two"))
    assert [facts.common_name for facts in parse(bundle, what="it")] == ["one", "two"]
    with pytest.raises(IntegrityError, match="2 certificates"):
        parse_one(bundle, what="it")


@pytest.mark.parametrize("pem", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_said_to_be_none(pem: bytes) -> None:
    key = _key()
    good = _certificate(key, key)
    for attempt in (
        lambda: parse(pem, what="the file"),
        lambda: key_matches(pem, _key_pem(key), what="the file"),
        lambda: key_matches(good, pem, what="the file"),
        lambda: signed_by(pem, good, what="the file"),
    ):
        with pytest.raises(IntegrityError, match="the file: not a certificate"):
            attempt()


def test_a_key_is_its_certificates_or_not() -> None:
    key, other = _key(), _key()
    certificate = _certificate(key, other)
    assert key_matches(certificate, _key_pem(key), what="it")
    assert not key_matches(certificate, _key_pem(other), what="it")


def test_signed_means_by_that_key_and_by_an_authority() -> None:
    key, authority, other = _key(), _key(), _key()
    ca, no_ca = x509.BasicConstraints(ca=True, path_length=0), x509.BasicConstraints(ca=False, path_length=None)
    leaf = _certificate(key, authority)
    assert signed_by(leaf, _certificate(authority, authority, ca, subject=_name("issuer")), what="it")
    assert not signed_by(leaf, _certificate(other, other, ca, subject=_name("issuer")), what="it")
    assert not signed_by(leaf, _certificate(authority, authority, ca, subject=_name("another")), what="it")
    assert not signed_by(leaf, _certificate(authority, authority, no_ca, subject=_name("issuer")), what="it")


def test_names_of_keys() -> None:
    assert key_name(ec.generate_private_key(ec.SECP384R1()).public_key()) == "ECDSA-P384"
    assert key_name(rsa.generate_private_key(65537, 2048).public_key()) == "RSA-2048"
    assert "Ed25519" in key_name(ed25519.Ed25519PrivateKey.generate().public_key())


@settings(max_examples=100)
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@pytest.mark.parametrize("name", ["RSA", "ECDSA"])
def test_a_damaged_key_is_not_the_certificates(name: str, at: float, flip: int) -> None:
    key = _DAMAGED[name]
    der = bytearray(
        key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate = _certificate(key, _key())
    assert key_matches(certificate, _as_pem(bytes(der)), what="it")
    der[int(at * len(der))] ^= flip
    try:
        matches = key_matches(certificate, _as_pem(bytes(der)), what="it")
    except IntegrityError:
        return
    if matches:
        # Some bytes of the form don't matter: then it is the very same key.
        found = serialization.load_pem_private_key(_as_pem(bytes(der)), None)
        assert isinstance(found, type(key))
        assert found.private_numbers() == key.private_numbers()


@pytest.mark.filterwarnings("ignore:.*disallowed by RFC 5280:cryptography.utils.CryptographyDeprecationWarning")
@settings(max_examples=200)
@given(at=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_damaged_certificate_is_read_or_said_to_be_unreadable(at: float, value: int) -> None:
    key = _key()
    names = x509.SubjectAlternativeName([x509.DNSName("a"), x509.IPAddress(ip_address("2001:db8::1"))])
    good = _certificate(key, key, x509.BasicConstraints(ca=True, path_length=0), names)
    der = bytearray(x509.load_pem_x509_certificate(good).public_bytes(serialization.Encoding.DER))
    der[int(at * len(der))] = value
    pem = _as_pem(bytes(der)).replace(b"PRIVATE KEY", b"CERTIFICATE")
    # Anything else than this one error comes through.
    with suppress(IntegrityError):
        parse(pem, what="it")
        key_matches(pem, _key_pem(key), what="it")
        signed_by(pem, good, what="it")
        signed_by(good, pem, what="it")
