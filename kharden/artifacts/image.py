"""Images: one deterministic layer in an OCI image layout (OCI image specification 1.1), as a tar file.

The same files give the same bytes on every machine, so an image is known by its digest before it exists anywhere.
Layers are not compressed: zlib's output differs between its versions, and archives travel once.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from kharden.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kharden.artifacts.forms import Architecture
    from kharden.artifacts.lock import Image

FORMAT = 1  # part of every cache key: raise it when the bytes of an image change
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EPOCH = "1970-01-01T00:00:00Z"
OCI = "application/vnd.oci.image"
CONTAINERD_NAME = "io.containerd.image.name"  # under which `ctr images import` files it


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a layer.

    Attributes:
        path: Absolute, in the image.
        content: The bytes, or the file that holds them.
        sha256: What those bytes must be.
        mode: Permission bits.
    """

    path: str
    content: bytes | Path
    sha256: str
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Archive:
    """A written image: its tar file and the digest of its manifest, as "sha256:…"."""

    path: Path
    manifest: str


def write(
    image: Image, architecture: Architecture, entries: Sequence[Entry], links: Mapping[str, str], work: Path
) -> Archive:
    """Write `image` with `entries` and symbolic `links` (path → target) into `work`.

    Raises:
        IntegrityError: a file is no longer what it was when it was verified.
    """
    layer = work / "layer.tar"
    _write_layer(layer, entries, links)
    with layer.open("rb") as stream:
        layer_digest = hashlib.file_digest(stream, "sha256").hexdigest()
    config = _json(_config(image, architecture, layer_digest))
    descriptor = {"mediaType": f"{OCI}.layer.v1.tar", "digest": f"sha256:{layer_digest}", "size": layer.stat().st_size}
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": _descriptor(f"{OCI}.config.v1+json", config),
            "layers": [descriptor],
        }
    )
    index = _json(_index(image, architecture, manifest))
    blobs: dict[str, bytes | Path] = {_name(config): config, _name(manifest): manifest, layer_digest: layer}
    archive = work / "image.tar"
    _write_archive(archive, index, blobs)
    layer.unlink()
    return Archive(archive, f"sha256:{_name(manifest)}")


def _config(image: Image, architecture: Architecture, layer_digest: str) -> dict[str, object]:
    return {
        "created": EPOCH,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": image.user,
            "Env": [f"PATH={PATH}"],
            "Entrypoint": list(image.entrypoint),
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        "history": [{"created": EPOCH, "created_by": "kharden"}],
    }


def _index(image: Image, architecture: Architecture, manifest: bytes) -> dict[str, object]:
    names = {CONTAINERD_NAME: image.reference, "org.opencontainers.image.ref.name": image.reference.rpartition(":")[2]}
    described = _descriptor(f"{OCI}.manifest.v1+json", manifest)
    platform = {"architecture": architecture, "os": "linux"}
    return {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.index.v1+json",
        "manifests": [{**described, "platform": platform, "annotations": names}],
    }


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{_name(blob)}", "size": len(blob)}


def _write_layer(path: Path, entries: Sequence[Entry], links: Mapping[str, str]) -> None:
    wanted = {entry.path: entry for entry in entries}
    folders = {str(parent) for name in (*wanted, *links) for parent in _parents(name)}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as layer:
        for name in sorted(folders | set(wanted) | set(links)):
            member = _member(name.lstrip("/"))
            if name in wanted:
                _add_file(layer, member, wanted[name])
            elif name in links:
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, links[name], 0o777
                layer.addfile(member)
            else:
                member.type = tarfile.DIRTYPE
                layer.addfile(member)


def _parents(name: str) -> list[str]:
    parts = name.strip("/").split("/")[:-1]
    return [f"/{posixpath.join(*parts[: depth + 1])}" for depth in range(len(parts))]


def _write_archive(path: Path, index: bytes, blobs: Mapping[str, bytes | Path]) -> None:
    files: dict[str, bytes | Path] = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": index}
    files |= {f"blobs/sha256/{name}": blobs[name] for name in sorted(blobs)}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            sha256 = name.rpartition("/")[2] if name.startswith("blobs/") else ""
            _add_file(archive, _member(name), Entry(name, content, sha256, 0o644))


def _member(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.mtime, member.uid, member.gid = 0o755, 0, 0, 0
    return member


def _add_file(archive: tarfile.TarFile, member: tarfile.TarInfo, entry: Entry) -> None:
    member.mode = entry.mode
    with io.BytesIO(entry.content) if isinstance(entry.content, bytes) else entry.content.open("rb") as stream:
        member.size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        counted = _Hashing(stream)
        archive.addfile(member, counted)
    if entry.sha256 and counted.digest.hexdigest() != entry.sha256:
        raise IntegrityError(f"{entry.path}: changed while its image was made", remedy="run it again")


class _Hashing(io.RawIOBase):
    """Reads through to a stream and remembers the digest of what was read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """As any stream's."""
        chunk = self._stream.read(size)
        self.digest.update(chunk)
        return chunk


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _name(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()
