"""What each role may hold: least privilege by type. A worker's share has no field for a key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kharden.pki.contents import AUTHORITY_KEY, SERVICE_ACCOUNT_KEY, Secrets
from kharden.pki.material import EncryptionKey, KeyedCertificate, Redacted
from kharden.pki.tree import AUTHORITIES, leaves_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kharden.plan.model import NodePlan
    from kharden.seal import Store

__all__ = [
    "ControlPlaneSecrets",
    "EncryptionKey",
    "EtcdSecrets",
    "KeyedCertificate",
    "SecretFile",
    "WorkerSecrets",
    "client_authorities",
    "for_control_plane",
    "for_etcd",
    "for_node",
    "for_worker",
]

CLIENT_AUTHORITIES = "client-ca.crt"
# Where the certificate of etcd's authority lies, without suffix.
ETCD_AUTHORITY = "etcd/ca"


@dataclass(frozen=True, slots=True, repr=False)
class SecretFile(Redacted):
    """A file below /etc/kubernetes/pki.

    Attributes:
        path: below that folder.
        store: the store whose recipients may read it; None: it is public.
        sha256: hex digest of the content, known without opening a store again.
    """

    path: str
    store: Store | None
    sha256: str
    _read: Callable[[], bytes] = field(compare=False)

    @property
    def content(self) -> bytes:
        """The bytes; of a file out of the roots, asking for them opens the roots.

        Raises:
            MissingError: no identity of this machine opens the roots.
        """
        return self._read()


@dataclass(frozen=True, slots=True, repr=False)
class ControlPlaneSecrets(Redacted):
    """A control plane's share. Where etcd has machines of its own, it has nothing of etcd's but a client certificate.

    Attributes:
        authority: the cluster authority's certificate, PEM.
        client_authorities: whose certificates the API server takes from clients: the cluster's and the people's, PEM.
        files: everything below /etc/kubernetes/pki.
        admin: for admin.conf.
        controller_manager: for controller-manager.conf.
        scheduler: for scheduler.conf.
        encryption_keys: for the API server's encryption at rest, the one that encrypts first.
    """

    authority: bytes
    client_authorities: bytes
    files: tuple[SecretFile, ...]
    admin: KeyedCertificate
    controller_manager: KeyedCertificate
    scheduler: KeyedCertificate
    encryption_keys: tuple[EncryptionKey, ...]


@dataclass(frozen=True, slots=True)
class WorkerSecrets:
    """A worker's share: nothing that is secret. What a worker needs it asks the cluster for, with a token.

    Attributes:
        authority: the cluster authority's certificate, PEM.
    """

    authority: bytes


@dataclass(frozen=True, slots=True, repr=False)
class EtcdSecrets(Redacted):
    """The share of a machine of etcd's own: its member's certificates, and nothing of the cluster's.

    Attributes:
        files: everything below /etc/kubernetes/pki: no authority's key is among it.
    """

    files: tuple[SecretFile, ...]


Share = ControlPlaneSecrets | WorkerSecrets | EtcdSecrets


def for_node(secrets: Secrets, node: NodePlan) -> Share:
    """The share of `node`."""
    if node.role == "control-plane":
        return for_control_plane(secrets, node)
    return for_etcd(secrets, node) if node.role == "etcd" else for_worker(secrets)


def for_etcd(secrets: Secrets, node: NodePlan) -> EtcdSecrets:
    """The share of a machine of etcd's own; `node` must be one of the plan that the secrets were loaded for."""
    authority = _file(f"{ETCD_AUTHORITY}.crt", secrets.leaves.trust.authorities["etcd-ca"], None)
    return EtcdSecrets((authority, *_leaf_files(secrets, node)))


def for_worker(secrets: Secrets) -> WorkerSecrets:
    """The share of any worker."""
    return WorkerSecrets(secrets.authority)


def for_control_plane(secrets: Secrets, node: NodePlan) -> ControlPlaneSecrets:
    """The share of a control plane; `node` must be one of the plan that the secrets were loaded for."""
    leaves = secrets.leaves.nodes[node.name]
    return ControlPlaneSecrets(
        authority=secrets.authority,
        client_authorities=client_authorities(secrets),
        files=(*_root_files(secrets), *_leaf_files(secrets, node)),
        admin=leaves["admin"],
        controller_manager=leaves["controller-manager"],
        scheduler=leaves["scheduler"],
        encryption_keys=secrets.data.encryption_keys,
    )


def client_authorities(secrets: Secrets) -> bytes:
    """Whose certificates the API server takes from clients, PEM."""
    authorities = secrets.leaves.trust.authorities
    return authorities["ca"] + authorities["people-ca"]


def _root_files(secrets: Secrets) -> Iterator[SecretFile]:
    trust, door = secrets.leaves.trust, secrets.roots
    for row in AUTHORITIES:
        if row.path:
            yield _file(f"{row.path}.crt", trust.authorities[row.name], None)
    yield _file(CLIENT_AUTHORITIES, client_authorities(secrets), None)
    yield _file("sa.pub", trust.service_account_public, None)
    yield SecretFile(
        AUTHORITY_KEY, "roots", trust.key_digests[AUTHORITY_KEY], lambda: door.open().authorities["ca"].key
    )
    yield SecretFile(
        SERVICE_ACCOUNT_KEY,
        "roots",
        trust.key_digests[SERVICE_ACCOUNT_KEY],
        lambda: door.open().service_account_keys[0],
    )


def _leaf_files(secrets: Secrets, node: NodePlan) -> Iterator[SecretFile]:
    leaves = secrets.leaves.nodes[node.name]
    for row in leaves_of(node):
        if row.path:
            yield _file(f"{row.path}.crt", leaves[row.name].certificate, None)
            yield _file(f"{row.path}.key", leaves[row.name].key, "leaves")


def _file(path: str, content: bytes, store: Store | None) -> SecretFile:
    return SecretFile(path, store, hashlib.sha256(content).hexdigest(), lambda: content)
