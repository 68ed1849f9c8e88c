from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kharden.artifacts import image
from kharden.artifacts.lock import Image
from kharden.errors import IntegrityError

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.artifacts.forms import Architecture

IMAGE = Image("registry.k8s.io/pause:3.10.2", "3.10.2", {"/usr/bin/pause": "pause"}, ("/usr/bin/pause",), "65535:65535")
LINKS = {"/bin": "usr/bin"}


def entry(path: str, content: bytes | Path, mode: int = 0o755) -> image.Entry:
    whole = content if isinstance(content, bytes) else content.read_bytes()
    return image.Entry(path, content, hashlib.sha256(whole).hexdigest(), mode)


def members(archive: Path | bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    whole = archive if isinstance(archive, bytes) else archive.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(whole)) as opened:
        return {
            member.name: (member, stream.read() if (stream := opened.extractfile(member)) and member.isreg() else b"")
            for member in opened
        }


def blob(found: dict[str, tuple[tarfile.TarInfo, bytes]], descriptor: dict[str, object]) -> bytes:
    content = found[f"blobs/sha256/{str(descriptor['digest']).removeprefix('sha256:')}"][1]
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == descriptor["digest"]
    assert len(content) == descriptor["size"]
    return content


def test_an_archive_is_a_whole_oci_layout(tmp_path: Path) -> None:
    entries = [entry("/usr/bin/pause", b"program"), entry("/etc/protocols", b"tcp 6", 0o644)]
    archive = image.write(IMAGE, "arm64", entries, LINKS, tmp_path)
    found = members(archive.path)
    assert json.loads(found["oci-layout"][1]) == {"imageLayoutVersion": "1.0.0"}
    (described,) = json.loads(found["index.json"][1])["manifests"]
    assert described["digest"] == archive.manifest
    assert described["platform"] == {"architecture": "arm64", "os": "linux"}
    assert described["annotations"]["io.containerd.image.name"] == IMAGE.reference
    manifest = json.loads(blob(found, described))
    config = json.loads(blob(found, manifest["config"]))
    (layer,) = manifest["layers"]
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    assert config["architecture"] == "arm64"
    assert config["config"]["User"] == "65535:65535"
    assert config["config"]["Entrypoint"] == ["/usr/bin/pause"]
    assert "/usr/local/bin" in config["config"]["Env"][0].split(":")
    files = members(blob(found, layer))
    assert files["usr/bin/pause"][1] == b"program"
    assert {name: oct(member.mode) for name, (member, _) in files.items()} == {
        "bin": "0o777",
        "etc": "0o755",
        "etc/protocols": "0o644",
        "usr": "0o755",
        "usr/bin": "0o755",
        "usr/bin/pause": "0o755",
    }
    assert files["bin"][0].linkname == "usr/bin"
    assert {(member.uid, member.gid, member.mtime) for member, _ in (*files.values(), *found.values())} == {(0, 0, 0)}


def test_two_makes_are_equal_whatever_the_surroundings(tmp_path: Path) -> None:
    archives = []
    for number, mask in enumerate((0o022, 0o077)):
        folder = tmp_path / str(number)
        folder.mkdir()
        program = folder / "program"
        program.write_bytes(b"x" * 100_000)
        os.utime(program, (number, number))
        entries = [entry("/b", program), entry("/a", b"y")]
        old = os.umask(mask)
        try:
            archives.append(image.write(IMAGE, "amd64", entries[:: 1 - 2 * number], LINKS, folder))
        finally:
            os.umask(old)
    assert archives[0].path.read_bytes() == archives[1].path.read_bytes()
    assert archives[0].manifest == archives[1].manifest


@pytest.mark.parametrize(
    ("other", "content", "architecture"),
    [
        (replace(IMAGE, user="0:0"), b"program", "amd64"),
        (IMAGE, b"another", "amd64"),
        (IMAGE, b"program", "arm64"),
    ],
)
def test_what_differs_has_another_digest(
    tmp_path: Path, other: Image, content: bytes, architecture: Architecture
) -> None:
    first = image.write(IMAGE, "amd64", [entry("/usr/bin/pause", b"program")], {}, tmp_path).manifest
    assert image.write(other, architecture, [entry("/usr/bin/pause", content)], {}, tmp_path).manifest != first


def test_a_program_swapped_after_it_was_verified_is_found(tmp_path: Path) -> None:
    program = tmp_path / "etcd"
    program.write_bytes(b"verified")
    verified = entry("/usr/local/bin/etcd", program)
    program.write_bytes(b"replaced")
    with pytest.raises(IntegrityError, match=r"^/usr/local/bin/etcd: changed"):
        image.write(IMAGE, "amd64", [verified], {}, tmp_path)


NAMES = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@settings(max_examples=50)  # it writes to a disk
@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=8))
def test_every_file_comes_back_and_follows_its_folders(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    kept = {name: content for name, content in files.items() if not any(f"{name}/" in f"{o}" for o in files)}
    folder = tmp_path_factory.mktemp("image")
    archive = image.write(IMAGE, "amd64", [entry(name, content) for name, content in kept.items()], {}, folder)
    found = members(archive.path)
    manifest = json.loads(found[f"blobs/sha256/{archive.manifest.removeprefix('sha256:')}"][1])
    layer = members(blob(found, manifest["layers"][0]))
    assert {f"/{name}": content for name, (member, content) in layer.items() if member.isreg()} == kept
    seen: set[str] = {""}
    for name in layer:
        assert name.rpartition("/")[0] in seen
        seen.add(name)
