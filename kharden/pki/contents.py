"""What is in the three stores."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kharden.certificates.facts import parse_one
from kharden.errors import IntegrityError
from kharden.pki.issue import public_pem
from kharden.pki.material import Redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from kharden.pki.material import EncryptionKey, KeyedCertificate
    from kharden.pki.tree import AuthorityName
    from kharden.seal import Store

# Keys that control planes hold though they are kept in the roots, by their path below /etc/kubernetes/pki.
AUTHORITY_KEY = "ca.key"
SERVICE_ACCOUNT_KEY = "sa.key"


@dataclass(frozen=True, slots=True)
class Trust:
    """What is public of the roots; the leaves carry it, so that the roots are opened only to issue.

    Attributes:
        authorities: certificates by their name in the table, PEM.
        service_account_public: PEM of every key that tokens may be signed with, the signing one first.
        key_digests: SHA-256 of the keys of the roots that control planes hold, by path.
        roots_recipients: for whom the roots are sealed.
    """

    authorities: Mapping[AuthorityName, bytes]
    service_account_public: bytes
    key_digests: Mapping[str, str]
    roots_recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Roots(Redacted):
    """Keys with which others are made.

    Attributes:
        service_account_keys: the first signs tokens; every one verifies them.
    """

    authorities: Mapping[AuthorityName, KeyedCertificate]
    service_account_keys: tuple[bytes, ...]
    super_admin: KeyedCertificate
    recipients: tuple[str, ...]

    @property
    def trust(self) -> Trust:
        """The public part."""
        keys = {AUTHORITY_KEY: self.authorities["ca"].key, SERVICE_ACCOUNT_KEY: self.service_account_keys[0]}
        return Trust(
            {name: pair.certificate for name, pair in self.authorities.items()},
            b"".join(map(public_pem, self.service_account_keys)),
            {path: hashlib.sha256(key).hexdigest() for path, key in keys.items()},
            self.recipients,
        )


@dataclass(frozen=True, slots=True, repr=False)
class Leaves(Redacted):
    """Issued certificates with their keys: by node, then by their name in the table."""

    trust: Trust
    nodes: Mapping[str, Mapping[str, KeyedCertificate]]
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Data(Redacted):
    """Keys of what lies in etcd.

    Attributes:
        authority: SHA-256 of the cluster's authority, which tells whose data these keys are for.
        encryption_keys: the first encrypts; every one decrypts.
    """

    authority: str
    encryption_keys: tuple[EncryptionKey, ...]
    recipients: tuple[str, ...]


class RootsDoor(Redacted):
    """Opens the roots once, at the first need, and tells whether that has happened."""

    __slots__ = ("_read", "_roots")

    def __init__(self, read: Callable[[], Roots]) -> None:
        self._read = read
        self._roots: Roots | None = None

    @classmethod
    def opened_with(cls, roots: Roots) -> RootsDoor:
        """A door that stands open."""
        door = cls(lambda: roots)
        door.open()
        return door

    @property
    def opened(self) -> bool:
        """Whether the roots are open."""
        return self._roots is not None

    def open(self) -> Roots:
        """The roots.

        Raises:
            MissingError: no identity of this machine opens them.
            IntegrityError: they are damaged, or don't belong to the other stores.
        """
        if self._roots is None:
            self._roots = self._read()
        return self._roots


@dataclass(frozen=True, slots=True, repr=False)
class Secrets(Redacted):
    """The secrets of a cluster; its roots stay closed until something asks for them."""

    roots: RootsDoor
    leaves: Leaves
    data: Data

    @property
    def authority(self) -> bytes:
        """The cluster authority's certificate, PEM."""
        return self.leaves.trust.authorities["ca"]

    @property
    def recipients(self) -> Mapping[Store, tuple[str, ...]]:
        """For whom each store is sealed, and so everything that is rendered from it."""
        return {
            "roots": self.leaves.trust.roots_recipients,
            "leaves": self.leaves.recipients,
            "data": self.data.recipients,
        }


def check_same_make(roots: Roots, leaves: Leaves, where: Path) -> None:
    """Stop where the leaves were not issued by these roots.

    Raises:
        IntegrityError: an authority or the service account key is another.
    """
    # For whom the roots are sealed is written in the leaves after the roots themselves: it may lag behind, once.
    if replace(leaves.trust, roots_recipients=()) != replace(roots.trust, roots_recipients=()):
        raise IntegrityError(
            f"{where}: these leaves were issued by other roots than those beside them", remedy="restore both together"
        )


def authority_digest(trust: Trust) -> str:
    """SHA-256 of the cluster's authority."""
    return parse_one(trust.authorities["ca"], what="ca").sha256
