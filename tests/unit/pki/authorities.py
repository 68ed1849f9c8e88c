"""Authorities as a user's company might have them, good ones and bad ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from kharden.seal import seal

if TYPE_CHECKING:
    from pathlib import Path

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_NOW = datetime.fromisoformat("2026-03-01T12:00:00+00:00")


def key_usage(*, sign: bool) -> x509.KeyUsage:
    others = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(key_cert_sign=sign, **others)


@dataclass
class Authority:
    """What an authority's certificate says; its parent is itself unless another one is named."""

    name: str = "Example Corp Cluster CA"
    key: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    begins: datetime = _NOW - timedelta(days=30)
    ends: datetime = _NOW + timedelta(days=2000)
    basic: x509.BasicConstraints | None = field(
        default_factory=lambda: x509.BasicConstraints(ca=True, path_length=None)
    )
    usage: x509.KeyUsage | None = field(default_factory=lambda: key_usage(sign=True))
    others: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    identifier: bool = True
    parent: Authority | None = None

    @property
    def subject(self) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "CH"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Corp"),
                x509.NameAttribute(NameOID.COMMON_NAME, self.name),
            ]
        )

    @cached_property
    def certificate(self) -> bytes:
        parent = self.parent or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(parent.subject)
            .public_key(self.key.public_key())
            .serial_number(4711)
            .not_valid_before(self.begins)
            .not_valid_after(self.ends)
        )
        given: list[tuple[x509.ExtensionType | None, bool]] = [(self.basic, True), (self.usage, True), *self.others]
        if self.identifier:
            given.append((x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False))
        for extension, critical in given:
            if extension is not None:
                builder = builder.add_extension(extension, critical=critical)
        return builder.sign(parent.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def key_pem(self, form: serialization.PrivateFormat = serialization.PrivateFormat.TraditionalOpenSSL) -> bytes:
        return self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())

    def supply(self, folder: Path, recipient: str) -> None:
        """Lay its two files into a cluster's folder."""
        (folder / "pki").mkdir(parents=True, exist_ok=True)
        (folder / "pki/ca.crt").write_bytes(self.certificate)
        (folder / "pki/ca.key.age").write_bytes(seal(self.key_pem(), [recipient]))
