"""What a node is sent, read by the node's own decoder."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kharden.apply.build import load
from kharden.apply.payload import payload
from kharden.errors import IntegrityError, MissingError
from kharden.seal import seal
from playbooks.module_utils.kharden.payload import decode

if TYPE_CHECKING:
    from kharden.apply.build import BuildFolder
    from kharden.render.artefact import Artefact, Folder, Program
    from kharden.seal import Identities, Store

    from .conftest import Written

LEAF = "nodes/cp1/files/etc/kubernetes/pki/apiserver.key.age"
OTHER = "nodes/cp1/files/etc/kubernetes/pki/front-proxy-client.key.age"


@pytest.fixture
def build(written: Written) -> BuildFolder:
    return load(written.folder, written.digest)


def without(identities: Identities, *stores: Store) -> Identities:
    """This machine, less the identities of some stores."""
    gone = {recipient for store in stores for recipient in identities.recipients[store]}
    return replace(identities, keys=tuple(key for key in identities.keys if str(key.to_public()) not in gone))


def raw(text: bytes) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(text)))
    return content


@pytest.mark.parametrize("node", ["cp1", "w1"])
def test_a_node_is_sent_all_that_was_rendered_in_its_order(written: Written, build: BuildFolder, node: str) -> None:
    entries = decode(payload(build, node, written.identities).decode())
    own = next(each for each in written.build.nodes if each.node == node)
    items: list[Folder | Program | Artefact] = [*own.folders, *own.programs, *own.files]
    assert [entry.path for entry in entries] == [item.path for item in items]
    by_path = {entry.path: entry for entry in entries}
    for folder in own.folders:
        entry = by_path[folder.path]
        assert (entry.kind, entry.mode, entry.owner, entry.group) == (
            *("directory", folder.mode, folder.owner, folder.group),
        )
    for program in own.programs:
        entry = by_path[program.path]
        assert (entry.kind, entry.mode, entry.sha256, entry.content) == ("file", 0o755, program.sha256, None)
        assert entry.restarts == program.restarts
    for file in own.files:
        entry = by_path[file.path]
        assert (entry.content, entry.sha256) == (file.content, file.sha256)
        assert (entry.mode, entry.owner, entry.group) == (file.mode, file.owner, file.group)
        assert (entry.restarts, entry.validate, entry.sensitive) == (file.restarts, file.validate, file.sensitive)


def test_the_same_build_gives_the_same_payload(written: Written, build: BuildFolder) -> None:
    assert payload(build, "cp1", written.identities) == payload(build, "cp1", written.identities)


@pytest.mark.parametrize("store", ["roots", "leaves", "data"])
def test_what_this_machine_can_not_open_is_compared_by_its_digest_alone(
    written: Written, build: BuildFolder, store: Store
) -> None:
    entries = decode(payload(build, "cp1", without(written.identities, store)).decode())
    own = next(each for each in written.build.nodes if each.node == "cp1")
    stores = {file.path: file.store for file in own.files}
    closed = {entry.path for entry in entries if entry.sensitive and entry.content is None}
    assert closed == {path for path, holder in stores.items() if holder == store}
    assert closed
    assert all(entry.sha256 for entry in entries if entry.path in closed)


def test_a_machine_without_identities_still_compares(written: Written, build: BuildFolder) -> None:
    entries = decode(payload(build, "cp1", without(written.identities, "roots", "leaves", "data")).decode())
    assert all(entry.content is None for entry in entries if entry.sensitive)
    assert [entry for entry in entries if entry.kind == "file" and entry.content]


def test_a_worker_is_sent_no_secret(written: Written, build: BuildFolder) -> None:
    assert not [entry for entry in raw(payload(build, "w1", written.identities))["files"] if entry.get("sensitive")]


# --- what was changed after the review


def test_another_ciphertext_in_its_place_is_not_used(written: Written, build: BuildFolder) -> None:
    (written.folder / LEAF).write_bytes((written.folder / OTHER).read_bytes())
    with pytest.raises(
        IntegrityError, match=r"apiserver\.key\.age: is not what the manifest lists: run `invoke render`"
    ):
        payload(build, "cp1", written.identities)


def test_a_key_of_somebody_elses_making_is_not_used(written: Written, build: BuildFolder) -> None:
    # Whoever knows the public recipients can seal something for them; the digest in the manifest stands against it.
    (written.folder / LEAF).write_bytes(seal(b"another key", written.identities.recipients["leaves"]))
    with pytest.raises(IntegrityError, match="is not what the manifest lists") as caught:
        payload(build, "cp1", written.identities)
    assert "another key" not in str(caught.value)


def test_a_damaged_ciphertext_is_not_taken_for_a_closed_one(written: Written, build: BuildFolder) -> None:
    content = (written.folder / LEAF).read_bytes()
    (written.folder / LEAF).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="damaged, nothing of it is used"):
        payload(build, "cp1", written.identities)


def test_a_ciphertext_that_is_gone_is_not_taken_for_a_closed_one(written: Written, build: BuildFolder) -> None:
    (written.folder / LEAF).unlink()
    with pytest.raises(MissingError, match=r"apiserver\.key\.age: No such file"):
        payload(build, "cp1", written.identities)


def test_a_public_file_that_was_changed_stops_it(written: Written, build: BuildFolder) -> None:
    (written.folder / "nodes/cp1/files/etc/haproxy/haproxy.cfg").write_text("listen everything\n")
    with pytest.raises(IntegrityError, match=r"haproxy\.cfg: was changed after it was rendered"):
        payload(build, "cp1", written.identities)
