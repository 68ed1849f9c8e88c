"""Files of Debian packages for an image, with the libraries that they load and nothing else."""

from __future__ import annotations

import io
import posixpath
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kharden.artifacts import apt, elf
from kharden.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kharden.artifacts.forms import Architecture
    from kharden.artifacts.lock import DebianFiles
    from kharden.artifacts.store import Store

LIBRARIES = {"amd64": "/usr/lib/x86_64-linux-gnu", "arm64": "/usr/lib/aarch64-linux-gnu"}
MERGED = ("bin", "lib", "lib64", "sbin")  # links to their namesakes in /usr since Debian 12 (usrmerge)


@dataclass(frozen=True, slots=True)
class Package:
    """One Debian package as it was fetched: `sha256` is that of the .deb file."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        """As people write it: "nftables 1.1.3-1"."""
        return f"{self.name} {self.version}"


def files(
    wanted: DebianFiles, architecture: Architecture, found: Sequence[Package], store: Store
) -> dict[str, tuple[bytes, int]]:
    """The files that `wanted` names and the libraries that they load: path below a merged /usr → content and mode.

    Raises:
        IntegrityError: a package lacks a file, or a library is in none of them.
    """
    tree = _Tree()
    for package in found:
        tree.add(store.path(package.sha256))
    chosen: dict[str, tuple[bytes, int]] = {}
    queue = list(wanted.files)
    while queue:
        path = merged(queue.pop(0))
        if path in chosen:
            continue
        content = tree.read(path)
        program = content.startswith(b"\x7fELF")
        chosen[path] = (content, 0o755 if program else 0o644)
        if program:
            queue += _loads(content, path, architecture)
    return chosen


def links(paths: Sequence[str]) -> dict[str, str]:
    """The links of a merged /usr that files at `paths` need: link → target."""
    return {f"/{name}": f"usr/{name}" for name in MERGED if any(path.startswith(f"/usr/{name}/") for path in paths)}


def merged(path: str) -> str:
    """Where `path` lies once /bin, /lib, /lib64 and /sbin are links into /usr."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return f"/usr{clean}" if clean.split("/")[1] in MERGED else clean


def _loads(content: bytes, path: str, architecture: Architecture) -> list[str]:
    described = elf.describe(io.BytesIO(content), path)
    if described.architecture != architecture:
        raise IntegrityError(f"{path}: a Debian package for {described.architecture}, not {architecture}")
    # The loader is asked for by its full path, and under its bare name by libc, which then is loaded already.
    libraries = [f"{LIBRARIES[architecture]}/{name}" for name in described.needed if not name.startswith("ld-linux")]
    return [*libraries, *([described.interpreter] if described.interpreter else [])]


class _Tree:
    """The files of some packages in memory, addressed below a merged /usr."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._links: dict[str, str] = {}

    def add(self, package: Path) -> None:
        """Add what the .deb file `package` holds."""
        content = apt.run(["dpkg-deb", "--fsys-tarfile", str(package)], "dpkg-deb")
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                path = merged(member.name)
                if member.issym():
                    self._links[path] = posixpath.join(posixpath.dirname(path), member.linkname)
                elif member.isreg() and (stream := archive.extractfile(member)):
                    self._files[path] = stream.read()

    def read(self, path: str) -> bytes:
        """The file at `path`, through links."""
        seen = path
        for _ in range(8):
            if seen in self._files:
                return self._files[seen]
            seen = merged(self._links.get(seen, ""))
        raise IntegrityError(f"{path}: in none of the Debian packages", remedy="report this with your Debian release")
