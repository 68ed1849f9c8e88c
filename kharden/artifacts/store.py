"""The cache: files by their digest, and an index of what was made from what.

    <cache>/objects/sha256/<hex>   each file once, read-only, named by its own SHA-256
    <cache>/index.json             what was built from what, and which objects were found intact
    <cache>/work/                  private to the process that holds the lock, emptied when it gets it
    <cache>/downloads/             parts of files that are being fetched, or were when that was cut off
    <cache>/logs/                  what compilers said

An object is hashed before it is handed out. Where inode, size and both times are those of an object that was hashed
before, that is not repeated (ctime can't be set back by hand); `verify` always hashes. A damaged object is removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kharden import securefile
from kharden.errors import IntegrityError, MissingError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

INDEX_SCHEMA = 1  # raise it when the shape of anything recorded changes: the old index then counts as empty
REMEDY = "run `artifacts.fetch`, which makes it anew"
_DIGEST = re.compile("[0-9a-f]{64}")


class DamagedError(IntegrityError):
    """An object of the cache was not what its name says; it has been removed."""


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """$KHARDEN_CACHE, else the folder of the XDG Base Directory Specification (which ignores relative paths)."""
    if own := environment.get("KHARDEN_CACHE"):
        return Path(own).expanduser().absolute()
    base = Path(environment.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "kharden"


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, hexadecimal; a symbolic link is not followed."""
    with open(path, "rb", opener=_no_link) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Store:
    """The cache below one folder; several processes may use it at once.

    Args:
        root: Its folder, made when missing. It must belong to whoever runs this (or root), and nobody else may
            write there, since what lies in it is executed.

    Raises:
        RefusedError: somebody else could change what lies there.
        WriteError: it can't be made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._objects = root / "objects" / "sha256"
        self._index = root / "index.json"
        for folder in (root, self._objects, self.logs):
            securefile.make_folder(folder, mode=0o700)
        found = root.stat()
        if found.st_uid not in {0, os.geteuid()} or found.st_mode & 0o022:
            raise RefusedError(
                f"{root}: others may write in this cache (owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):o})",
                remedy="set KHARDEN_CACHE to a folder of your own with mode 0700",
            )

    @property
    def downloads(self) -> Path:
        """Where parts of files lie that are being fetched; not there before the first one."""
        return self.root / "downloads"

    @property
    def logs(self) -> Path:
        """Where the output of compilers is kept."""
        return self.root / "logs"

    def path(self, sha256: str) -> Path:
        """The object with that digest, verified.

        Raises:
            MissingError: there is none.
            DamagedError: it was something else and has been removed.
        """
        path = self._object(sha256)
        try:
            intact = self.recall("intact", sha256) == _identity(path.lstat())
        except FileNotFoundError:
            raise MissingError(f"{path}: not in the cache", remedy=REMEDY) from None
        return path if intact else self.verify(sha256)

    def verify(self, sha256: str) -> Path:
        """As `path`, but the bytes are always read."""
        path = self._object(sha256)
        try:
            before = path.lstat()
            found = digest_of(path) if stat.S_ISREG(before.st_mode) else "no regular file"
        except FileNotFoundError:
            raise MissingError(f"{path}: not in the cache", remedy=REMEDY) from None
        except OSError as error:
            raise IntegrityError(f"{path}: can't be read ({error.strerror})", remedy="look at its disk") from None
        if found != sha256:
            self._remove(path, before)
            raise DamagedError(f"{path}: damaged ({found}), removed", remedy=REMEDY)
        if self.recall("intact", sha256) != _identity(before):
            self.record("intact", sha256, _identity(before))
        return path

    def add(self, file: Path, *, mode: int = 0o444, expected: str = "") -> str:
        """Move `file`, which lies in `work` or `downloads`, into the cache with `mode`; its digest.

        Raises:
            IntegrityError: that is not the `expected` one; the file is gone.
            WriteError: the disk is full or read-only.
        """
        sha256 = digest_of(file)
        if expected and sha256 != expected:
            file.unlink()
            raise IntegrityError(
                f"{file.name}: sha256 {sha256}, not the pinned bytes ({expected}), removed",
                remedy="see that its source and the Go toolchain are those of the lock",
            )
        path = self._objects / sha256
        try:
            file.chmod(mode)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            file.replace(path)
        except OSError as error:
            raise securefile.WriteError(
                f"{path}: can't write ({error.strerror})", remedy="free the disk or mend the folder, then run it again"
            ) from None
        self.record("intact", sha256, _identity(path.lstat()))
        return sha256

    def discard(self, sha256: str) -> None:
        """Remove an object that turned out to be of no use."""
        self._object(sha256).unlink(missing_ok=True)

    @contextmanager
    def work(self) -> Iterator[Path]:
        """An empty folder on the cache's own file system, for one process at a time: others wait here."""
        with self._locked("lock"):
            folder = self.root / "work"
            shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
            securefile.make_folder(folder, mode=0o700)
            try:
                yield Path(tempfile.mkdtemp(dir=folder))
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def recall(self, section: str, key: str) -> Any:  # noqa: ANN401 - JSON; who recorded it knows its shape
        """What was recorded under `key`; None when nothing was, or the index was damaged: then it is made anew."""
        return self._read_index().get(section, {}).get(key)

    def record(self, section: str, key: str, value: object) -> None:
        """Remember a JSON value under `key`, for other processes as well."""
        with self._locked("index.lock"):
            sections = self._read_index()
            sections.setdefault(section, {})[key] = value
            content = {"schema": INDEX_SCHEMA, "sections": sections, "sha256": _seal(sections)}
            securefile.write(self._index, json.dumps(content, indent=1, sort_keys=True).encode(), mode=0o600)

    def _read_index(self) -> dict[str, dict[str, Any]]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(self._index.read_bytes())
            sections: dict[str, dict[str, Any]] = content["sections"]
            if content["schema"] == INDEX_SCHEMA and content["sha256"] == _seal(sections):
                return sections
        return {}

    def _object(self, sha256: str) -> Path:
        if not _DIGEST.fullmatch(sha256):
            raise IntegrityError(f"{self._index}: no digest: {sha256[:80]!r}", remedy="remove this file")
        return self._objects / sha256

    def _remove(self, path: Path, seen: os.stat_result) -> None:
        """Remove what was `seen` at `path`, not what another process may have put there since."""
        with suppress(FileNotFoundError):
            if path.lstat().st_ino == seen.st_ino:
                shutil.rmtree(path) if stat.S_ISDIR(seen.st_mode) else path.unlink()

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with open(self.root / name, "wb", opener=_no_link) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _seal(sections: dict[str, dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()


def _identity(found: os.stat_result) -> list[int]:
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
