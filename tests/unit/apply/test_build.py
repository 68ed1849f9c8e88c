from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kharden.apply.build import BuildFolder, load
from kharden.apply.leaves import due
from kharden.errors import InputError, IntegrityError, KhardenError, MissingError, RefusedError

if TYPE_CHECKING:
    from kharden.render.artefact import Artefact, Folder, Program

    from .conftest import Written

AGAIN = r"run `invoke render`"


def test_a_build_is_read_as_it_was_written(written: Written) -> None:
    build = load(written.folder, written.digest)
    assert build.nodes == ("cp1", "w1")
    for node in written.build.nodes:
        items: list[Folder | Program | Artefact] = [*node.folders, *node.programs, *node.files]
        assert [entry["path"] for entry in build.files(node.node)] == [item.path for item in items]
        contents = {file.path: file.content for file in node.files if not file.sensitive}
        for entry in build.files(node.node):
            if entry["kind"] == "file" and not entry["sensitive"]:
                assert build.public_content(node.node, entry) == contents[entry["path"]]


def test_what_kubeadm_writes_is_not_ours_to_place(written: Written) -> None:
    paths = {entry["path"] for entry in load(written.folder, written.digest).files("cp1")}
    assert "/etc/kubernetes/kubelet.conf" not in paths
    assert "/etc/kubernetes/admin.conf" in paths


def test_where_there_is_no_build_one_has_to_render_first(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=rf"manifest\.json: No such file or directory: {AGAIN}"):
        load(tmp_path / "none", "0" * 64)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"5",
        b'"text"',
        b"{}",
        b"\xff\xfe",
        b'{"schema": 1}',
        b'{"schema": 1, "specDigest": "x"}',
    ],
)
def test_what_is_no_manifest_is_refused(written: Written, content: bytes) -> None:
    (written.folder / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"is not a manifest of kharden: {AGAIN}"):
        load(written.folder, written.digest)


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": 5},
        {"nodes": None},
        {"manifests": 5},
        {"manifests": [5]},
        {"ansible": [{"path": "ansible/hosts.yaml"}]},
    ],
)
def test_a_manifest_of_another_shape_is_refused(written: Written, change: dict[str, object]) -> None:
    path = written.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(InputError, match="is not a manifest of kharden"):
        load(written.folder, written.digest)


def test_a_manifest_of_another_version_is_refused(written: Written) -> None:
    path = written.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"schema": 2}))
    with pytest.raises(InputError, match="has schema 2, not 1"):
        load(written.folder, written.digest)


def test_a_build_of_another_cluster_yaml_is_refused(written: Written) -> None:
    with pytest.raises(RefusedError, match=r"cluster\.yaml was changed since this was rendered: run `invoke render`"):
        load(written.folder, "0" * 64)


@pytest.mark.parametrize(
    "name", ["ansible/hosts.yaml", "ansible/known_hosts", "ansible/ssh_config", "cluster/namespaces.yaml"]
)
def test_what_ansible_is_given_is_what_was_reviewed(written: Written, name: str) -> None:
    path = written.folder / name
    path.write_bytes(path.read_bytes() + b"# more\n")
    with pytest.raises(IntegrityError, match=rf"{name}: was changed after it was rendered: {AGAIN}"):
        load(written.folder, written.digest)
    path.unlink()
    with pytest.raises(MissingError, match=rf"{name}: No such file"):
        load(written.folder, written.digest)


def test_a_file_that_was_changed_after_the_review_is_not_used(written: Written) -> None:
    build = load(written.folder, written.digest)
    entry = next(entry for entry in build.files("cp1") if entry["path"].endswith("/config.toml"))
    path = build.location("cp1", entry)
    path.write_bytes(path.read_bytes().replace(b"false", b"true"))
    with pytest.raises(IntegrityError, match=rf"config\.toml: was changed after it was rendered: {AGAIN}"):
        build.public_content("cp1", entry)
    path.unlink()
    with pytest.raises(MissingError, match=r"config\.toml: No such file"):
        build.public_content("cp1", entry)


def test_sealed_files_lie_under_a_name_of_their_own(written: Written) -> None:
    build = load(written.folder, written.digest)
    for entry in build.files("cp1"):
        if entry["kind"] == "file":
            assert (build.location("cp1", entry).suffix == ".age") is entry["sensitive"]


def test_every_error_is_one_line_that_says_where(written: Written) -> None:
    def complaint(content: bytes, digest: str) -> str:
        (written.folder / "manifest.json").write_bytes(content)
        with pytest.raises(KhardenError) as caught:
            load(written.folder, digest)
        return str(caught.value)

    whole = (written.folder / "manifest.json").read_bytes()
    for line in (complaint(b"{", written.digest), complaint(whole, "0" * 64)):
        assert "\n" not in line
        assert str(Path(written.folder)) in line


# --- leaves


def test_leaves_in_the_last_third_of_their_life_are_named_and_authorities_are_not(tmp_path: Path) -> None:
    begin = datetime(2027, 1, 1, tzinfo=UTC)
    entries = []
    for path, sign in (("/pki/leaf.crt", False), ("/pki/ca.crt", True), ("/pki/none.crt", None)):
        pem = b"none" if sign is None else certificate(begin, begin + timedelta(days=90), sign=sign)
        place = tmp_path / f"nodes/cp1/files{path}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(pem)
        digest = hashlib.sha256(pem).hexdigest()
        entries.append({"path": path, "by": "kharden", "kind": "file", "sensitive": False, "sha256": digest})
    build = BuildFolder(tmp_path, {"nodes": {"cp1": {"files": entries}}})
    assert due(build, ["cp1"], begin + timedelta(days=59)) == []
    line = "cp1: /pki/leaf.crt ends on 2027-04-01: `render` issues it anew, then apply"
    assert due(build, ["cp1"], begin + timedelta(days=61)) == [line]


def certificate(begin: datetime, end: datetime, *, sign: bool) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "it")])
    usages = dict.fromkeys(USAGES, False) | {"digital_signature": not sign, "key_cert_sign": sign}
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, begin, end)
    made = builder.add_extension(x509.KeyUsage(**usages), critical=True).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
