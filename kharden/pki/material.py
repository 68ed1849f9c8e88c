"""Secret values that can't be shown by accident."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


class Redacted:
    """A base for what holds secrets: its repr, and so every log line and traceback, tells the type alone."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: not shown>"


@dataclass(frozen=True, slots=True, repr=False)
class KeyedCertificate(Redacted):
    """A certificate and its private key (PKCS #8, unencrypted), both in PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True, repr=False)
class EncryptionKey(Redacted):
    """A key for encryption at rest: 32 bytes, which secretbox and aescbc both take."""

    secret: bytes

    @property
    def name(self) -> str:
        """The key's name in the API server's configuration and in front of every encrypted value.

        It follows from the key, so that no name means two keys; 32 bits of a digest tell nothing of 256 random ones.
        """
        return f"key-{hashlib.sha256(self.secret).hexdigest()[:8]}"
