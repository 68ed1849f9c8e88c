"""What a certificate says, and whether a key or an issuer belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kharden.errors import IntegrityError

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

IPAddress = IPv4Address | IPv6Address

# Names of usages as the Kubernetes certificates API has them (k8s.io/api certificates/v1 KeyUsage).
EXTENDED_USAGES = {"server auth": ExtendedKeyUsageOID.SERVER_AUTH, "client auth": ExtendedKeyUsageOID.CLIENT_AUTH}
_EXTENDED_NAMES = {oid: name for name, oid in EXTENDED_USAGES.items()}
_KEY_USAGES = {
    "digital_signature": "digital signature",
    "content_commitment": "content commitment",
    "key_encipherment": "key encipherment",
    "data_encipherment": "data encipherment",
    "key_agreement": "key agreement",
    "key_cert_sign": "cert sign",
    "crl_sign": "crl sign",
}
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_CURVES = {"secp256r1": "ECDSA-P256", "secp384r1": "ECDSA-P384", "secp521r1": "ECDSA-P521"}

# What the library raises at bytes that are no certificate or no key.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says; nothing in it is secret.

    Attributes:
        common_name: CN of the subject; "" where there is none.
        organizations: O of the subject, in their order.
        issuer: the issuer's whole name (RFC 4514).
        dns: subject alternative DNS names.
        addresses: subject alternative IP addresses.
        other_names: subject alternative names of any other kind (e-mail, URI …), as "kind:value".
        key_usages: "digital signature", "cert sign" …
        extended_usages: "server auth", "client auth"; a dotted OID for others; empty where any use is allowed.
        not_before: start of its life, UTC.
        not_after: end of its life, UTC.
        algorithm: "ECDSA-P256", "RSA-2048" …; the class of the key where it is another one.
        sha256: hex digest of the DER form.
    """

    common_name: str
    organizations: tuple[str, ...]
    issuer: str
    dns: tuple[str, ...]
    addresses: tuple[IPAddress, ...]
    other_names: tuple[str, ...]
    key_usages: frozenset[str]
    extended_usages: frozenset[str]
    not_before: datetime
    not_after: datetime
    serial: int
    algorithm: str
    is_ca: bool
    sha256: str


def parse(pem: bytes, *, what: str) -> tuple[CertificateFacts, ...]:
    """The facts of every certificate in `pem`, in their order; `what` it is, is for the message.

    Raises:
        IntegrityError: there is no certificate in it, or one can't be read.
    """
    try:
        return tuple(_facts(certificate) for certificate in x509.load_pem_x509_certificates(pem))
    except _UNREADABLE:
        raise _unreadable(what, "certificate") from None


def parse_one(pem: bytes, *, what: str) -> CertificateFacts:
    """The facts of the only certificate in `pem`.

    Raises:
        IntegrityError: it can't be read, or there are several.
    """
    found = parse(pem, what=what)
    if len(found) != 1:
        raise IntegrityError(f"{what}: {len(found)} certificates where one is expected", remedy="restore it")
    return found[0]


def key_matches(certificate: bytes, key: bytes, *, what: str) -> bool:
    """Whether the unencrypted private `key` is whole and the certificate's, both in PEM.

    Raises:
        IntegrityError: one of them can't be read.
    """
    try:
        own = x509.load_pem_x509_certificate(certificate).public_key()
        # The library looks for 60 ms whether an RSA key's factors are prime; what damage would change is seen below.
        private = serialization.load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True)
    except _UNREADABLE:
        raise _unreadable(what, "certificate with a private key") from None
    return _spki(own) == _spki(private.public_key()) and _whole(private)


def signed_by(certificate: bytes, issuer: bytes, *, what: str) -> bool:
    """Whether `issuer` may sign certificates and signed `certificate`, both in PEM; time plays no part.

    Raises:
        IntegrityError: one of them can't be read.
    """
    try:
        child = x509.load_pem_x509_certificate(certificate)
        parent = x509.load_pem_x509_certificate(issuer)
    except _UNREADABLE:
        raise _unreadable(what, "certificate") from None
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return _facts(parent).is_ca


def key_name(key: object) -> str:
    """The name of a public key's algorithm and size: "ECDSA-P256", "RSA-2048"."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, f"ECDSA-{key.curve.name}")
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA-{key.key_size}"
    return type(key).__name__


def _whole(key: PrivateKeyTypes) -> bool:
    """Whether the numbers of an RSA key fit each other (RFC 8017, 3.2), as Go demands; loading tests other kinds."""
    if not isinstance(key, rsa.RSAPrivateKey):
        return True
    own = key.private_numbers()
    p, q, d, public = own.p, own.q, own.d, own.public_numbers
    return (
        p * q == public.n
        and all((d * public.e - 1) % (prime - 1) == 0 for prime in (p, q))
        and (own.dmp1, own.dmq1) == (d % (p - 1), d % (q - 1))
        and own.iqmp * q % p == 1
    )


def _unreadable(what: str, kind: str) -> IntegrityError:
    return IntegrityError(f"{what}: not a {kind} in PEM", remedy="restore it from version control or a backup")


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _facts(certificate: x509.Certificate) -> CertificateFacts:
    subject, extensions = certificate.subject, certificate.extensions
    names = _extension(extensions, x509.SubjectAlternativeName) or x509.SubjectAlternativeName([])
    basic = _extension(extensions, x509.BasicConstraints)
    known = (x509.DNSName, x509.IPAddress)
    return CertificateFacts(
        common_name="".join(str(name.value) for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)[:1]),
        organizations=tuple(str(name.value) for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)),
        issuer=certificate.issuer.rfc4514_string(),
        dns=tuple(names.get_values_for_type(x509.DNSName)),
        addresses=tuple(
            address
            for address in names.get_values_for_type(x509.IPAddress)
            if isinstance(address, IPv4Address | IPv6Address)
        ),
        other_names=tuple(f"{type(name).__name__}:{name.value}" for name in names if not isinstance(name, known)),
        key_usages=_key_usages(_extension(extensions, x509.KeyUsage)),
        extended_usages=frozenset(
            _EXTENDED_NAMES.get(oid, oid.dotted_string) for oid in _extension(extensions, x509.ExtendedKeyUsage) or ()
        ),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=certificate.serial_number,
        algorithm=key_name(certificate.public_key()),
        is_ca=basic is not None and basic.ca,
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
    )


def _extension(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _key_usages(usage: x509.KeyUsage | None) -> frozenset[str]:
    if usage is None:
        return frozenset()
    return frozenset(name for attribute, name in _KEY_USAGES.items() if getattr(usage, attribute))
