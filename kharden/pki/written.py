"""The one written form of the stores: JSON with sorted keys, the same bytes for the same content."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm

from kharden.certificates.facts import key_matches, signed_by
from kharden.errors import IntegrityError
from kharden.pki.contents import AUTHORITY_KEY, SERVICE_ACCOUNT_KEY, Data, Leaves, Roots, Trust
from kharden.pki.material import EncryptionKey, KeyedCertificate
from kharden.pki.tree import AUTHORITIES, LEAVES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kharden.seal import Store

SCHEMA = 1
ENCRYPTION_KEY_BYTES = 32
_RESTORE = "restore it from version control or a backup"
# What a document of another form raises somewhere on the way.
_MISFIT = (KeyError, TypeError, ValueError, AttributeError, IndexError, UnsupportedAlgorithm)


def dump_roots(roots: Roots, cluster: str) -> bytes:
    """The written form of the store `roots`."""
    content = {
        "authorities": {name: _pair_out(pair) for name, pair in roots.authorities.items()},
        "serviceAccountKeys": [key.decode() for key in roots.service_account_keys],
        "superAdmin": _pair_out(roots.super_admin),
    }
    return _dump("roots", cluster, roots.recipients, content)


def dump_leaves(leaves: Leaves, cluster: str) -> bytes:
    """The written form of the store `leaves`."""
    trust = leaves.trust
    content = {
        "trust": {
            "authorities": {name: certificate.decode() for name, certificate in trust.authorities.items()},
            "serviceAccountPublic": trust.service_account_public.decode(),
            "keyDigests": dict(trust.key_digests),
            "rootsRecipients": list(trust.roots_recipients),
        },
        "nodes": {node: {name: _pair_out(pair) for name, pair in own.items()} for node, own in leaves.nodes.items()},
    }
    return _dump("leaves", cluster, leaves.recipients, content)


def dump_data(data: Data, cluster: str) -> bytes:
    """The written form of the store `data`."""
    keys = [{"name": key.name, "secret": base64.b64encode(key.secret).decode()} for key in data.encryption_keys]
    return _dump("data", cluster, data.recipients, {"authority": data.authority, "encryptionKeys": keys})


def load_roots(plaintext: bytes, cluster: str, where: Path) -> Roots:
    """The store `roots`, every key held against its certificate.

    Raises:
        IntegrityError: it is another cluster's, has another form, or a key is not its certificate's.
    """
    content, recipients = _load("roots", plaintext, cluster, where)
    try:
        authorities = {row.name: _pair_in(content["authorities"][row.name]) for row in AUTHORITIES}
        keys = tuple(key.encode() for key in content["serviceAccountKeys"])
        roots = Roots(authorities, keys, _pair_in(content["superAdmin"]), recipients)
        trust = roots.trust
    except _MISFIT:
        raise _other_form(where) from None
    for name, pair in authorities.items():
        _check_pair(pair, pair.certificate, f"{where}: {name}")
    _check_pair(roots.super_admin, trust.authorities["ca"], f"{where}: super-admin")
    return roots


def load_leaves(plaintext: bytes, cluster: str, where: Path) -> Leaves:
    """The store `leaves`, every key held against its certificate and that against its issuer.

    Raises:
        IntegrityError: as `load_roots`.
    """
    content, recipients = _load("leaves", plaintext, cluster, where)
    try:
        public = content["trust"]
        trust = Trust(
            {row.name: public["authorities"][row.name].encode() for row in AUTHORITIES},
            public["serviceAccountPublic"].encode(),
            {path: str(public["keyDigests"][path]) for path in (AUTHORITY_KEY, SERVICE_ACCOUNT_KEY)},
            tuple(map(str, public["rootsRecipients"])),
        )
        nodes = {node: {name: _pair_in(pair) for name, pair in own.items()} for node, own in content["nodes"].items()}
    except _MISFIT:
        raise _other_form(where) from None
    for node, own in nodes.items():
        for row in LEAVES:
            if row.name in own:
                _check_pair(own[row.name], trust.authorities[row.issuer], f"{where}: {node}/{row.name}")
    return Leaves(trust, nodes, recipients)


def load_data(plaintext: bytes, cluster: str, where: Path) -> Data:
    """The store `data`.

    Raises:
        IntegrityError: as `load_roots`, or a key has another length or name than it must have.
    """
    content, recipients = _load("data", plaintext, cluster, where)
    try:
        entries = [
            (entry["name"], base64.b64decode(entry["secret"], validate=True)) for entry in content["encryptionKeys"]
        ]
        data = Data(str(content["authority"]), tuple(EncryptionKey(secret) for _, secret in entries), recipients)
    except _MISFIT:
        raise _other_form(where) from None
    if not entries:
        raise IntegrityError(f"{where}: holds no encryption key", remedy=_RESTORE)
    for name, secret in entries:
        if len(secret) != ENCRYPTION_KEY_BYTES:
            raise IntegrityError(
                f"{where}: the encryption key {name} has {len(secret)} bytes, not {ENCRYPTION_KEY_BYTES}",
                remedy=_RESTORE,
            )
        if EncryptionKey(secret).name != name:
            raise IntegrityError(f"{where}: the encryption key {name} is not the one of that name", remedy=_RESTORE)
    return data


def _check_pair(pair: KeyedCertificate, issuer: bytes, what: str) -> None:
    if not key_matches(pair.certificate, pair.key, what=what):
        raise IntegrityError(f"{what}: the key is not the certificate's", remedy=_RESTORE)
    if not signed_by(pair.certificate, issuer, what=what):
        raise IntegrityError(f"{what}: not signed by its authority", remedy=_RESTORE)


def _dump(store: Store, cluster: str, recipients: tuple[str, ...], content: Mapping[str, object]) -> bytes:
    head = {"schema": SCHEMA, "store": store, "cluster": cluster, "recipients": list(recipients)}
    return json.dumps({**head, **content}, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _load(store: Store, plaintext: bytes, cluster: str, where: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    try:
        content = json.loads(plaintext)
        schema, kind, owner = content["schema"], content["store"], content["cluster"]
        recipients = tuple(map(str, content["recipients"]))
    except _MISFIT:
        raise _other_form(where) from None
    if (schema, kind) != (SCHEMA, store):
        raise _other_form(where)
    if owner != cluster:
        raise IntegrityError(
            f"{where}: made for the cluster {owner!a}, not for {cluster}", remedy="a cluster needs stores of its own"
        )
    return content, recipients


def _other_form(where: Path) -> IntegrityError:
    return IntegrityError(f"{where}: not a store of this kind and version", remedy=_RESTORE)


def _pair_out(pair: KeyedCertificate) -> dict[str, str]:
    return {"certificate": pair.certificate.decode(), "key": pair.key.decode()}


def _pair_in(entry: dict[str, str]) -> KeyedCertificate:
    return KeyedCertificate(entry["certificate"].encode(), entry["key"].encode())
