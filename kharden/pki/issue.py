"""Issuing: from a row of the table, an issuer, a plan and a time to a certificate. Only keys and serials are random."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from kharden.certificates.facts import EXTENDED_USAGES, key_name, parse_one
from kharden.errors import RefusedError
from kharden.pki.material import KeyedCertificate
from kharden.plan.endpoints import Sans

if TYPE_CHECKING:
    from datetime import datetime

    from kharden.pki.tree import AuthorityRow, LeafRow, Usage
    from kharden.plan.model import ClusterPlan, NodePlan

# Clocks differ: what is issued now must hold on a machine that is a little behind. kubeadm allows the same.
BACKDATE = timedelta(minutes=5)

_CURVES = {"ECDSA-P256": ec.SECP256R1, "ECDSA-P384": ec.SECP384R1}
_RSA_BITS = {"RSA-2048": 2048, "RSA-3072": 3072, "RSA-4096": 4096}
_RSA_EXPONENT = 65537
# The names that spec.pki.algorithm takes.
ALGORITHMS = (*_CURVES, *_RSA_BITS)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Profile:
    """What a leaf certificate is to say, apart from its time."""

    common_name: str
    organizations: tuple[str, ...]
    usages: tuple[Usage, ...]
    sans: Sans = field(default_factory=Sans)


def profile(row: LeafRow, plan: ClusterPlan, node: NodePlan) -> Profile:
    """What `row` says for `node`."""
    return Profile(row.common_name or node.name, row.organizations, row.usages, row.sans(plan, node))


def key_usages(algorithm: str) -> frozenset[str]:
    """The least usages of a leaf's key: key encipherment is an RSA key exchange, which ECDSA keys can't do."""
    return frozenset({"digital signature"} | ({"key encipherment"} if algorithm in _RSA_BITS else set()))


def new_key(algorithm: str) -> PrivateKey:
    """A private key of `algorithm`, by the names of spec.pki."""
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm]())
    return rsa.generate_private_key(_RSA_EXPONENT, _RSA_BITS[algorithm])


def private_pem(key: PrivateKey) -> bytes:
    """PKCS #8, unencrypted: for sealed stores and for nodes."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(private: bytes) -> bytes:
    """The public half of a private key in PEM."""
    key = serialization.load_pem_private_key(private, None).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def issue_authority(row: AuthorityRow, plan: ClusterPlan, now: datetime) -> KeyedCertificate:
    """A self-signed authority that signs leaves and nothing else (pathlen 0)."""
    key = new_key(plan.pki.algorithm)
    name = _name(row.common_name, ())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(name, key, now - BACKDATE, now + timedelta(days=plan.pki.authority_days))
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage({"cert sign"}), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return _signed(_with_usages(builder, row.usages), key, key)


def issue_leaf(
    row: LeafRow, issuer: KeyedCertificate, plan: ClusterPlan, node: NodePlan, now: datetime
) -> KeyedCertificate:
    """A leaf with a key of its own, for the plan's lifetime or until its issuer ends.

    Raises:
        RefusedError: the issuer has expired, or is from the future.
    """
    end = now + timedelta(days=plan.pki.leaf_days)
    return issue(profile(row, plan, node), issuer, plan.pki.algorithm, now - BACKDATE, end)


def issue(
    what: Profile, issuer: KeyedCertificate, algorithm: str, not_before: datetime, not_after: datetime
) -> KeyedCertificate:
    """A leaf as `what` says; its life is cut to its issuer's, since nothing trusts it outside.

    Raises:
        RefusedError: the issuer has no life at all in that time.
    """
    facts = parse_one(issuer.certificate, what="issuer")
    start, end = max(not_before, facts.not_before), min(not_after, facts.not_after)
    if start >= end:
        raise RefusedError(
            f"authority {facts.common_name} is good from {facts.not_before:%Y-%m-%d} to {facts.not_after:%Y-%m-%d}, "
            f"it can't issue {what.common_name} for {not_before:%Y-%m-%d} and later",
            remedy="look at the clock; an authority that has expired is replaced only by its rotation",
        )
    authority = x509.load_pem_x509_certificate(issuer.certificate)
    key = new_key(algorithm)
    builder = (
        _builder(_name(what.common_name, what.organizations), key, start, end)
        .issuer_name(authority.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(key_usages(algorithm)), critical=True)
        .add_extension(_authority_identifier(authority), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _signed(_with_names(_with_usages(builder, what.usages), what.sans), key, _private(issuer))


def _builder(subject: x509.Name, key: PrivateKey, not_before: datetime, not_after: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        # 159 random bits, positive: at most the 20 octets of RFC 5280, 4.1.2.2.
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _signed(builder: x509.CertificateBuilder, key: PrivateKey, signer: PrivateKey) -> KeyedCertificate:
    strong = key_name(signer.public_key()) == "ECDSA-P384"
    certificate = builder.sign(signer, hashes.SHA384() if strong else hashes.SHA256())
    return KeyedCertificate(certificate.public_bytes(serialization.Encoding.PEM), private_pem(key))


def _private(pair: KeyedCertificate) -> PrivateKey:
    key = serialization.load_pem_private_key(pair.key, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TypeError(type(key).__name__)
    return key


def _name(common_name: str, organizations: tuple[str, ...]) -> x509.Name:
    # One set with every O and then CN: the order in which Go writes a name.
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(usages: set[str] | frozenset[str]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digital signature" in usages,
        content_commitment=False,
        key_encipherment="key encipherment" in usages,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign="cert sign" in usages,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _with_usages(builder: x509.CertificateBuilder, usages: tuple[Usage, ...]) -> x509.CertificateBuilder:
    if not usages:
        return builder
    return builder.add_extension(x509.ExtendedKeyUsage([EXTENDED_USAGES[name] for name in usages]), critical=False)


def _with_names(builder: x509.CertificateBuilder, sans: Sans) -> x509.CertificateBuilder:
    names = [*map(x509.DNSName, sans.dns), *map(x509.IPAddress, sans.ip)]
    return builder.add_extension(x509.SubjectAlternativeName(names), critical=False) if names else builder


def _authority_identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
