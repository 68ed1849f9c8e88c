"""A certificate authority that the user supplies: read from beside cluster.yaml and judged before anything is made.

What is refused here would be refused later by every program that verifies a certificate (RFC 5280 as Go's crypto/x509
reads it), on a node and with a worse message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kharden.certificates.facts import parse_one
from kharden.errors import InputError, IntegrityError, MissingError, RefusedError
from kharden.pki.authority_form import problems
from kharden.pki.issue import private_pem
from kharden.pki.material import KeyedCertificate
from kharden.seal import unseal
from kharden.securefile import read_inside

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from kharden.plan.model import AuthorityPlan, ClusterPlan
    from kharden.seal import Identities

# A chain of a few certificates, or a key: whatever is larger is something else.
_MAX_BYTES = 65536
_PLAIN_KEY = b"PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class _Files:
    """The user's two files, and who opens the key."""

    folder: Path
    plan: AuthorityPlan

    @property
    def certificate(self) -> Path:
        return self.folder / self.plan.certificate

    @property
    def key(self) -> Path:
        return self.folder / self.plan.key


def take_over(
    authority: AuthorityPlan, plan: ClusterPlan, folder: Path, identities: Identities, now: datetime
) -> KeyedCertificate:
    """The authority in `folder`, for the first keys of a cluster; the key in the form in which all of them are kept.

    Raises:
        InputError: it can't be the cluster's authority; every reason is said.
        RefusedError: the key lies there in the clear, or a symbolic link is on the way.
        MissingError: a file is not there, or no identity of the roots on this machine opens the key.
        IntegrityError: the key's file is damaged, or the key isn't the certificate's.
    """
    files = _Files(folder, authority)
    certificate = _certificate(files)
    wrong = problems(certificate, plan, now)
    if wrong:
        raise InputError(
            f"{files.certificate}: can't be the cluster's authority: {'; '.join(wrong)}",
            remedy="supply another one, or remove spec.pki.authority and kharden makes one",
        )
    key = _key(files, identities)
    if key.public_key() != certificate.public_key():
        raise IntegrityError(f"{files.key}: is not the key of {files.certificate}", remedy="supply the two together")
    return KeyedCertificate(certificate.public_bytes(serialization.Encoding.PEM), private_pem(key))


def check_unchanged(authority: AuthorityPlan, folder: Path, ours: bytes) -> None:
    """Stop where the authority in `folder` is another than the cluster's, `ours`; the key may be gone by now.

    Raises:
        RefusedError: it is another one, or a key lies there in the clear.
        InputError: it can't be read.
        MissingError: it is not there.
    """
    files = _Files(folder, authority)
    if _certificate(files) != x509.load_pem_x509_certificate(ours):
        raise RefusedError(
            f"{files.certificate}: is another authority than the one that this cluster was made with",
            remedy="put that one back; an authority in use is replaced only by its rotation",
        )
    if files.key.exists() or files.key.is_symlink():
        _refuse_plain(files, read_inside(folder, authority.key, limit=_MAX_BYTES), ())


def _certificate(files: _Files) -> x509.Certificate:
    content = read_inside(files.folder, files.plan.certificate, limit=_MAX_BYTES)
    if _PLAIN_KEY in content:
        raise RefusedError(
            f"{files.certificate}: holds a private key in the clear",
            remedy="take it out and seal it with age; a key that others could read has to be replaced",
        )
    try:
        parse_one(content, what=str(files.certificate))
    except IntegrityError as error:
        raise InputError(
            error.message, remedy="write the authority's certificate there, as PEM, and no other"
        ) from None
    return x509.load_pem_x509_certificate(content)


def _key(files: _Files, identities: Identities) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    own = identities.recipients.get("roots", ())
    try:
        content = read_inside(files.folder, files.plan.key, limit=_MAX_BYTES)
    except MissingError as error:
        raise MissingError(error.message, remedy=_how_to_seal(files, own)) from None
    _refuse_plain(files, content, own)
    try:
        plaintext = unseal(content, identities.of("roots"), where=files.key)
    except MissingError as error:
        raise MissingError(error.message, remedy=_how_to_seal(files, own)) from None
    except IntegrityError:
        raise IntegrityError(f"{files.key}: not a file sealed with age", remedy=_how_to_seal(files, own)) from None
    try:
        key = serialization.load_pem_private_key(plaintext, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise InputError(
            f"{files.key}: what is sealed in it is no private key in PEM without a passphrase",
            remedy="take the passphrase off, seal it again and destroy the plain file",
        )
    return key


def _refuse_plain(files: _Files, content: bytes, own: tuple[str, ...]) -> None:
    if _PLAIN_KEY in content:
        raise RefusedError(
            f"{files.key}: holds a private key in the clear",
            remedy=f"{_how_to_seal(files, own)}; a key that others could read has to be replaced",
        )


def _how_to_seal(files: _Files, own: tuple[str, ...]) -> str:
    recipients = " ".join(f"-r {one}" for one in own) or "-r RECIPIENT"
    return f"run `age {recipients} -o {files.key.name} KEY` with the plain key and destroy that"
