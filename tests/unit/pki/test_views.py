"""Who holds what, and that nothing of it is shown."""

from __future__ import annotations

import hashlib
import re
import traceback
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from kharden.certificates.facts import parse
from kharden.errors import KhardenError
from kharden.pki.bundle import load_or_create
from kharden.pki.views import ControlPlaneSecrets, WorkerSecrets, for_control_plane, for_node

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from kharden.pki.contents import Secrets
    from kharden.plan.model import ClusterPlan
    from kharden.seal import Identities
    from tests.unit.pki.conftest import MakePlan

# Every file of /etc/kubernetes/pki that a control plane has, and the store of those that are secret.
_FILES = {
    "ca.crt": None,
    "ca.key": "roots",
    "sa.pub": None,
    "sa.key": "roots",
    "client-ca.crt": None,
    "front-proxy-ca.crt": None,
    "etcd/ca.crt": None,
    "apiserver.crt": None,
    "apiserver.key": "leaves",
    "apiserver-kubelet-client.crt": None,
    "apiserver-kubelet-client.key": "leaves",
    "apiserver-etcd-client.crt": None,
    "apiserver-etcd-client.key": "leaves",
    "front-proxy-client.crt": None,
    "front-proxy-client.key": "leaves",
    "etcd/server.crt": None,
    "etcd/server.key": "leaves",
    "etcd/peer.crt": None,
    "etcd/peer.key": "leaves",
    "etcd/healthcheck-client.crt": None,
    "etcd/healthcheck-client.key": "leaves",
}


@pytest.fixture
def secrets(plan: ClusterPlan, folder: Path, identities: Identities, now: datetime) -> Secrets:
    load_or_create(plan, folder, identities, now)
    return load_or_create(plan, folder, identities, now)[0]


def test_a_worker_holds_a_public_certificate_and_can_hold_nothing_else(plan: ClusterPlan, secrets: Secrets) -> None:
    share = for_node(secrets, plan.workers[0])
    assert isinstance(share, WorkerSecrets)
    assert [(field.name, field.type) for field in fields(WorkerSecrets)] == [("authority", "bytes")]
    assert b"PRIVATE" not in share.authority
    assert [facts.common_name for facts in parse(share.authority, what="ca")] == ["kubernetes"]


def test_a_control_plane_holds_its_files_and_no_key_of_etcds_or_the_proxys_authority(
    plan: ClusterPlan, secrets: Secrets
) -> None:
    share = for_node(secrets, plan.control_planes[0])
    assert isinstance(share, ControlPlaneSecrets)
    assert {file.path: file.store for file in share.files} == _FILES
    for file in share.files:
        assert (b"PRIVATE KEY" in file.content) == (file.store is not None) == file.path.endswith(".key")
        assert file.sha256 == hashlib.sha256(file.content).hexdigest()
    contents = b"".join(file.content for file in share.files)
    for name in ("etcd-ca", "front-proxy-ca", "people-ca"):
        assert secrets.roots.open().authorities[name].key not in contents


def test_the_roots_stay_closed_until_their_content_is_asked_for(plan: ClusterPlan, secrets: Secrets) -> None:
    share = for_control_plane(secrets, plan.nodes[0])
    files = {file.path: file for file in share.files}
    assert [file.sha256 for file in share.files]
    assert not secrets.roots.opened
    assert files["ca.key"].content == secrets.roots.open().authorities["ca"].key
    assert secrets.roots.opened


def test_the_service_account_keys_are_a_pair(plan: ClusterPlan, secrets: Secrets) -> None:
    files = {file.path: file.content for file in for_control_plane(secrets, plan.nodes[0]).files}
    public = load_pem_public_key(files["sa.pub"])
    assert load_pem_private_key(files["sa.key"], None).public_key() == public


def test_clients_are_trusted_from_two_authorities(plan: ClusterPlan, secrets: Secrets) -> None:
    share = for_control_plane(secrets, plan.nodes[0])
    names = [facts.common_name for facts in parse(share.client_authorities, what="client-ca.crt")]
    assert names == ["kubernetes", "kharden-people-ca"]


def test_the_key_that_encrypts_has_a_name_and_a_length(plan: ClusterPlan, secrets: Secrets) -> None:
    (key,) = for_control_plane(secrets, plan.nodes[0]).encryption_keys
    assert len(key.secret) == 32
    assert re.fullmatch(r"key-[0-9a-f]{8}", key.name)
    assert key.name == f"key-{hashlib.sha256(key.secret).hexdigest()[:8]}"


def _shown(*values: object) -> str:
    return "".join(f"{value!r}{value!s}{value}{[value]}{ {'it': value} }" for value in values)


def test_canary_no_secret_is_shown(
    make_plan: MakePlan, secrets: Secrets, folder: Path, identities: Identities, now: datetime
) -> None:
    plan = make_plan()
    share = for_control_plane(secrets, plan.nodes[0])
    roots = secrets.roots.open()
    values: list[object] = [secrets, secrets.roots, roots, secrets.leaves, secrets.data, share, identities]
    values += [*share.files, share.admin, *share.encryption_keys, *roots.authorities.values(), roots.super_admin]
    text = _shown(*values)
    (folder / "data.age").write_bytes((folder / "leaves.age").read_bytes())
    try:
        load_or_create(plan, folder, identities, now)
    except KhardenError as error:
        text += "".join(traceback.format_exception(error)) + repr(error) + repr(error.__dict__)
    else:
        pytest.fail("a store in the wrong place was taken")
    for canary in [*(file.content for file in share.files if file.store), share.admin.key]:
        lines = canary.decode("ascii").splitlines()
        assert lines[len(lines) // 2] not in text
    assert share.encryption_keys[0].secret.decode("latin-1") not in text
    assert "PRIVATE KEY" not in text
    assert "AGE-SECRET-KEY" not in text
    assert share.encryption_keys[0].secret.hex() not in text
    assert repr(share.encryption_keys[0].secret) not in text
    for path in [*folder.iterdir(), *folder.parent.iterdir()]:
        assert path.is_dir() or b"PRIVATE KEY" not in path.read_bytes()
