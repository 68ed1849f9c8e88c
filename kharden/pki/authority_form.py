"""What a certificate must say for the cluster to have it as its authority: a pure judgement."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from kharden.certificates.facts import key_name, signed_by
from kharden.pki.issue import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from kharden.plan.model import ClusterPlan

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_WEAK = (hashes.MD5, hashes.SHA1)
_MIN_EXPONENT = 65537
# What Go's crypto/x509 understands where it is critical; name constraints have a judgement of their own.
_UNDERSTOOD = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.NameConstraints)


def problems(authority: x509.Certificate, plan: ClusterPlan, now: datetime) -> tuple[str, ...]:
    """Why `authority` can't be the cluster's, all reasons; none: it can."""
    try:
        extensions = authority.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return ("its extensions can't be read",)
    judgements: tuple[Callable[[], Iterator[str]], ...] = (
        lambda: _time(authority, plan, now),
        lambda: _key(authority),
        lambda: _signature(authority),
        lambda: _constraints(extensions),
        lambda: _usages(extensions),
        lambda: _others(extensions),
    )
    return tuple(problem for judgement in judgements for problem in judgement())


def _time(authority: x509.Certificate, plan: ClusterPlan, now: datetime) -> Iterator[str]:
    start, end = authority.not_valid_before_utc, authority.not_valid_after_utc
    if now < start:
        yield f"it is good only from {start:%Y-%m-%d}"
    if now >= end:
        yield f"it expired on {end:%Y-%m-%d}"
    elif end - now < timedelta(days=plan.pki.leaf_days):
        # Every leaf would be cut short, and the last of them with nothing left to renew it.
        yield f"it ends on {end:%Y-%m-%d}, sooner than a leaf of {plan.pki.leaf_days} days issued today"


def _key(authority: x509.Certificate) -> Iterator[str]:
    key = authority.public_key()
    if key_name(key) not in ALGORITHMS:
        yield f"its key is {key_name(key)}, not one of {', '.join(ALGORITHMS)}"
    elif isinstance(key, rsa.RSAPublicKey) and key.public_numbers().e < _MIN_EXPONENT:
        yield f"its key has the exponent {key.public_numbers().e}, less than {_MIN_EXPONENT}"


def _signature(authority: x509.Certificate) -> Iterator[str]:
    """Programs that use OpenSSL trust nothing that isn't self-signed; see ADR 8 for why its root is no way out."""
    pem = authority.public_bytes(serialization.Encoding.PEM)
    if authority.issuer != authority.subject:
        yield "it is an intermediate one (make a self-signed certificate of the same key and name)"
    elif _find(authority.extensions, x509.BasicConstraints) and not signed_by(pem, pem, what="authority"):
        yield "its signature is not its own"
    if isinstance(authority.signature_hash_algorithm, _WEAK):
        yield f"it is signed with {authority.signature_hash_algorithm.name.upper()}"
    if not authority.subject:
        yield "it has no name"


def _constraints(extensions: x509.Extensions) -> Iterator[str]:
    basic = _find(extensions, x509.BasicConstraints)
    if basic is None or not basic.ca:
        yield "it is no CA (basic constraints)"
    # Its path length needs no look: it signs leaves, and 0 is the least that there is.
    if _find(extensions, x509.NameConstraints) is not None:
        yield "it has name constraints, and nodes' and services' names are not within them for sure"


def _usages(extensions: x509.Extensions) -> Iterator[str]:
    usage = _find(extensions, x509.KeyUsage)
    if usage is None or not usage.key_cert_sign:
        yield "it may not sign certificates (key usage)"
    extended = _find(extensions, x509.ExtendedKeyUsage)
    if extended is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in extended:
        return
    for oid, name in ((ExtendedKeyUsageOID.SERVER_AUTH, "servers"), (ExtendedKeyUsageOID.CLIENT_AUTH, "clients")):
        if oid not in extended:
            yield f"it is not for {name} (extended key usage)"


def _others(extensions: x509.Extensions) -> Iterator[str]:
    if _find(extensions, x509.SubjectKeyIdentifier) is None:
        yield "it has no subject key identifier"
    for extension in extensions:
        if extension.critical and not isinstance(extension.value, _UNDERSTOOD):
            yield f"its critical extension {extension.oid.dotted_string} is understood by nobody here"


def _find(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
