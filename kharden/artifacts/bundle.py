"""A mirror out of the cache, for machines without a network: a folder, or a tar file of one.

What is in it is what `kharden.artifacts.published` looks for in a mirror. Several bundles can share a folder: each has
a list of its own, `kharden/<version>-<architecture>-<official|built>.json`, with the digest and size of each file.
The list is for people and their scanners: whoever takes files from the mirror goes by the lock.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from kharden import securefile
from kharden.artifacts import lock
from kharden.artifacts.fetch import pinned
from kharden.artifacts.published import BUILDS, location
from kharden.artifacts.sealed import SHA256
from kharden.artifacts.store import DamagedError, digest_of
from kharden.errors import IntegrityError, MissingError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from kharden.artifacts.forms import Architecture
    from kharden.artifacts.lock import Release
    from kharden.artifacts.store import Store
    from kharden.plan.model import ArtifactsPlan

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Bundled:
    """One file of a bundle; `path` is below its folder, `size` in bytes."""

    path: str
    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was written: the folder or tar file, its files, and the lists of them."""

    target: Path
    files: tuple[Bundled, ...]
    lists: tuple[str, ...]


class _Sink(Protocol):
    def put(self, path: str, source: Path) -> None: ...
    def put_text(self, path: str, text: bytes) -> None: ...


def write(
    kubernetes: str, architectures: Sequence[Architecture], origin: ArtifactsPlan, *, store: Store, target: Path
) -> Bundle:
    """Write what `store` has of `kubernetes` to `target`: a tar file where that ends in .tar, otherwise a folder.

    Raises:
        MissingError: the cache lacks something.
        IntegrityError: something in it was damaged, or came out damaged.
        RefusedError: `target` is a tar file that is there already, or no folder.
        WriteError: the disk is full or read-only.
    """
    own = lock.load()
    release = own.kubernetes(kubernetes)
    chosen = {each: pinned(release, each, origin) for each in architectures}
    listed = {each: _once(_files(own, release, each, origin, store)) for each in chosen}
    files = _once(file for each in listed.values() for file in each)
    kind = "official" if origin.official else "built"
    with ExitStack() as stack:
        try:
            sink = _sink(target, stack)
            for file in files:
                sink.put(file.path, store.path(file.sha256))
            lists = []
            for architecture, each in listed.items():
                path = f"kharden/{kubernetes}-{architecture}-{kind}.json"
                sink.put_text(path, _list(kubernetes, architecture, origin, own.serial, each))
                lists.append(path)
        except OSError as error:
            if isinstance(error, securefile.WriteError):
                raise
            raise securefile.WriteError(f"{target}: can't write ({error.strerror})", remedy="free the disk") from None
    return Bundle(target, files, tuple(lists))


def _once(files: Iterable[Bundled]) -> tuple[Bundled, ...]:
    """An archive holds several programs, and a package may be in several images."""
    return tuple({file.path: file for file in files}.values())


def _files(
    own: lock.Lock, release: Release, architecture: Architecture, origin: ArtifactsPlan, store: Store
) -> Iterator[Bundled]:
    for program in release.programs:
        sha256 = program.release[architecture] if origin.official else program.built[architecture]
        place = location(program, architecture, "") if origin.official else f"https://{BUILDS}/{sha256}"
        yield _bundled(store, place.removeprefix("https://"), str(program), sha256)
    if any(image.debian for image in release.images):
        for package in own.debian.packages.get(architecture, ()):
            yield _bundled(store, f"{BUILDS}/{package.sha256}", str(package), package.sha256)


def _bundled(store: Store, path: str, name: str, sha256: str) -> Bundled:
    try:
        return Bundled(path, name, sha256, store.path(sha256).stat().st_size)
    except (MissingError, DamagedError):
        raise _not_there(name) from None


def _not_there(name: str) -> MissingError:
    return MissingError(f"{name}: not in the cache, or not whole", remedy="run artifacts.fetch first")


def _list(kubernetes: str, architecture: str, origin: ArtifactsPlan, serial: int, files: Sequence[Bundled]) -> bytes:
    content = {
        "schema": SCHEMA,
        "kubernetes": kubernetes,
        "architecture": architecture,
        "official": origin.official,
        "lock": {"serial": serial, "sha256": SHA256},
        "files": [asdict(file) for file in files],
    }
    return f"{json.dumps(content, indent=1)}\n".encode()


def _sink(target: Path, stack: ExitStack) -> _Sink:
    if target.suffix != ".tar":
        if target.exists() and not target.is_dir():
            raise RefusedError(f"{target}: is no folder", remedy="name a folder, or a new file that ends in .tar")
        return _Folder(target)
    if target.exists():
        raise RefusedError(f"{target}: is there already", remedy="remove it, or name another")
    securefile.make_folder(target.parent)
    return _Tar(stack.enter_context(_archive(target)))


@contextmanager
def _archive(target: Path) -> Iterator[tarfile.TarFile]:
    """A tar file that appears whole or not at all."""
    partial = target.with_name(f".{target.name}.part")
    try:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
            yield archive
        partial.rename(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True)
class _Folder:
    root: Path

    def put(self, path: str, source: Path) -> None:
        target = self.root / path
        securefile.make_folder(target.parent)
        partial = target.with_name(f".{target.name}.part")
        shutil.copyfile(source, partial)
        if digest_of(partial) != source.name:
            partial.unlink()
            raise IntegrityError(f"{target}: was written wrong, removed", remedy="look at this disk")
        partial.replace(target)

    def put_text(self, path: str, text: bytes) -> None:
        securefile.write(self.root / path, text)


@dataclass(frozen=True, slots=True)
class _Tar:
    archive: tarfile.TarFile

    def put(self, path: str, source: Path) -> None:
        member = tarfile.TarInfo(path)
        member.size, member.mode = source.stat().st_size, 0o644
        with source.open("rb") as stream:
            self.archive.addfile(member, stream)

    def put_text(self, path: str, text: bytes) -> None:
        member = tarfile.TarInfo(path)
        member.size, member.mode = len(text), 0o644
        self.archive.addfile(member, io.BytesIO(text))
