# SPDX-License-Identifier: Apache-2.0
"""Looking at and replacing files without ever following a symbolic link.

A path is opened folder by folder with O_NOFOLLOW (openat(2)), so neither a link that lies on the way nor one that is
slipped in while we work can lead a write elsewhere (CWE-59, CWE-367). A file is written to a temporary sibling with its
final owner and mode, synced, and renamed: it is there whole or not at all.

Temporary names start with a dot, since a kubelet runs every other file of a static pod folder, and end in a suffix that
no drop-in folder reads (*.conf, *.rules, *.service). They are the same each time, so a run that was cut off leaves
nothing that the next one doesn't find.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import grp
import hashlib
import os
import posixpath
import pwd
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

TEMPORARY_SUFFIX = ".kharden-new"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO there must not make us wait
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


class DigestError(NodeError):
    """Bytes are not those that their name says."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """Who owns a path and what its mode bits are."""

    uid: int
    gid: int
    mode: int


@dataclass(frozen=True, slots=True)
class Found:
    """What lies at a path: `kind` is file, directory, symlink or other; `times` tells whether a file was touched."""

    kind: str
    attributes: Attributes
    size: int
    times: tuple[int, int, int, int]  # inode, size in bytes, mtime and ctime in nanoseconds
    target: str = ""


def temporary(path: str) -> str:
    """The temporary sibling of `path`."""
    parent, name = posixpath.split(path)
    return posixpath.join(parent, f".{name}{TEMPORARY_SUFFIX}")


@contextmanager
def folder(path: str) -> Iterator[int]:
    """Open the folder `path` from the root on, folder by folder, and yield its descriptor.

    Raises:
        NodeError: a part of the path is a symbolic link or no folder.
        FileNotFoundError: a part is missing.
    """
    descriptor = os.open("/", _FOLDER)
    walked = ""
    try:
        for part in filter(None, path.split("/")):
            walked += f"/{part}"
            try:
                below = os.open(part, _FOLDER, dir_fd=descriptor)
            except NotADirectoryError:
                link = stat.S_ISLNK(os.stat(part, dir_fd=descriptor, follow_symlinks=False).st_mode)
                what = "a symbolic link, which is not followed" if link else "not a folder"
                raise NodeError(f"{walked}: this is {what}: name the real path, or put a folder there") from None
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _beside(path: str, doing: str) -> Iterator[tuple[int, str]]:
    """Yield the descriptor of the folder of `path` and its name; an OSError becomes one line."""
    parent, name = posixpath.split(path)
    try:
        with folder(parent) as at:
            yield at, name
    except OSError as error:
        raise NodeError(
            f"{path}: can't {doing} ({error.strerror}): mend the disk or the folder, then run again"
        ) from None


def look(path: str) -> Found | None:
    """Tell what lies at `path`, without following it; None where nothing does.

    Raises:
        NodeError: a folder on the way is a symbolic link.
    """
    parent, name = posixpath.split(path)
    try:
        with folder(parent) as at:
            status = os.stat(name, dir_fd=at, follow_symlinks=False)
            target = os.readlink(name, dir_fd=at) if stat.S_ISLNK(status.st_mode) else ""
    except FileNotFoundError:
        return None
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
    return Found(
        kind=kinds.get(stat.S_IFMT(status.st_mode), "other"),
        attributes=Attributes(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)),
        size=status.st_size,
        times=(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns),
        target=target,
    )


@contextmanager
def reading(path: str) -> Iterator[BufferedReader]:
    """Open the file `path` for reading bytes."""
    with _beside(path, "read") as (at, name), os.fdopen(os.open(name, _READ, dir_fd=at), "rb") as stream:
        yield stream


def digest(path: str) -> str:
    """The SHA-256 of the file `path`, in hexadecimal."""
    with reading(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def prepare(path: str, source: BinaryIO, attributes: Attributes, *, sha256: str) -> None:
    """Copy `source` into the temporary sibling of `path`, hashing on the way.

    Raises:
        NodeError: the bytes are not those of `sha256`, or they can't be written; no temporary is left.
    """
    sibling = temporary(path)
    discard(path)
    copied = hashlib.sha256()
    try:
        with (
            _beside(sibling, "write") as (at, name),
            os.fdopen(os.open(name, _CREATE, 0o600, dir_fd=at), "wb") as stream,
        ):
            while chunk := source.read(_CHUNK):
                copied.update(chunk)
                stream.write(chunk)
            if copied.hexdigest() != sha256:
                raise DigestError(f"{path}: the content for it doesn't have the digest {sha256}: stage it again")
            stream.flush()
            os.fchown(stream.fileno(), attributes.uid, attributes.gid)
            os.fchmod(stream.fileno(), attributes.mode)
            os.fsync(stream.fileno())
    except NodeError:
        with suppress(NodeError):
            discard(path)
        raise


def prepare_symlink(path: str, target: str, attributes: Attributes) -> None:
    """Make the temporary sibling of `path` a symbolic link to `target`."""
    discard(path)
    with _beside(temporary(path), "write") as (at, name):
        os.symlink(target, name, dir_fd=at)
        os.chown(name, attributes.uid, attributes.gid, dir_fd=at, follow_symlinks=False)


def commit(path: str) -> None:
    """Rename the temporary sibling of `path` over it: from here on the new one is there."""
    with _beside(path, "replace") as (at, name):
        os.rename(posixpath.basename(temporary(path)), name, src_dir_fd=at, dst_dir_fd=at)
        os.fsync(at)


def discard(path: str) -> None:
    """Remove the temporary sibling of `path`, if there is one."""
    if look(temporary(path)):
        remove(temporary(path))


def remove(path: str) -> None:
    """Remove the file or symbolic link at `path`."""
    with _beside(path, "remove") as (at, name):
        os.unlink(name, dir_fd=at)
        os.fsync(at)


def make_folder(path: str, attributes: Attributes) -> None:
    """Make the folder `path`; its parent must be there."""
    with _beside(path, "make the folder") as (at, name):
        os.mkdir(name, 0o700, dir_fd=at)
    set_attributes(path, attributes)


def remove_folder(path: str) -> None:
    """Remove the folder `path`; one that isn't empty stays."""
    with _beside(path, "remove the folder") as (at, name):
        try:
            os.rmdir(name, dir_fd=at)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise


def names(path: str) -> list[str]:
    """The names of what lies in the folder `path`."""
    with folder(path) as at:
        return os.listdir(at)  # noqa: PTH208 - of an open folder: a path would be followed again


def set_attributes(path: str, attributes: Attributes) -> None:
    """Give the file, folder or link at `path` its owner and mode (a link has no mode of its own)."""
    with _beside(path, "set owner and mode") as (at, name):
        if stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            os.chown(name, attributes.uid, attributes.gid, dir_fd=at, follow_symlinks=False)
            return
        descriptor = os.open(name, _READ, dir_fd=at)
        try:
            os.fchown(descriptor, attributes.uid, attributes.gid)
            os.fchmod(descriptor, attributes.mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def own(mode: int) -> Attributes:
    """The attributes of a file of the user who runs this (root, on a node), with `mode`."""
    return Attributes(os.geteuid(), os.getegid(), mode)


@contextmanager
def exclusively(path: str) -> Iterator[None]:
    """Hold the lock of kharden's folder `path`, which is made where missing: one run at a time changes a node.

    Raises:
        NodeError: another run holds it.
    """
    if not look(path):
        Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        make_folder(path, own(0o700))
    with folder(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NodeError(f"{path}: another run is changing this node: wait until it has ended") from None
        yield


@functools.cache
def uid(name: str) -> int | None:
    """The number of the user `name`, which may be a number itself; None where there is no such user."""
    try:
        return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


@functools.cache
def gid(name: str) -> int | None:
    """The number of the group `name`, which may be a number itself; None where there is no such group."""
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        return None


@functools.cache
def user(number: int) -> str:
    """The name of the user `number`, or the number where none has it."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@functools.cache
def group(number: int) -> str:
    """The name of the group `number`, or the number where none has it."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
