"""The kinds of checks of certificates and of what trusts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from kharden.controls.checks.node import Scope
    from kharden.controls.model import FromPlan

Usage = Literal["server auth", "client auth"]
# Whose names a certificate must carry: an API server's, an etcd member's, the node's own, or none (clients).
Names = Literal["none", "api-server", "etcd-member", "node"]


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A leaf certificate: its chain, usages, names, key, lifetime.

    Attributes:
        authority: file with the CA that must have signed it.
        issued_by_plan: kharden issued it, so the plan's key algorithm and lifetime hold; else the cluster's signer did.
    """

    path: str
    authority: str
    common_name: str | FromPlan
    organizations: tuple[str, ...]
    usages: tuple[Usage, ...]
    names: Names = "none"
    issued_by_plan: bool = True


@dataclass(frozen=True, slots=True)
class KubeconfigFile:
    """A kubeconfig: one context, TLS verified with an embedded CA, no password, no token, known servers."""

    path: str


@dataclass(frozen=True, slots=True)
class TrustFile:
    """A file of trusted CAs: exactly these of the cluster's authorities, by fingerprint.

    Attributes:
        authorities: their names in the table of the PKI.
    """

    path: str
    authorities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DistinctAuthorities:
    """No CA is in two of these files."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TlsListener:
    """A handshake with the port: TLS 1.2 or later with a strong suite, older versions refused, the right certificate.

    Attributes:
        authority: file with the CA of the served certificate; None where it is the program's own (loopback only).
        first_address_only: it listens on the first of a node's addresses alone; else each of them is tried.
    """

    port: int
    scope: Scope
    authority: str | None
    names: Names
    first_address_only: bool = False
