"""Writing files: the only place that does.

A file appears whole or not at all (temporary sibling, fsync, rename), with its mode from the first byte on, and a
symbolic link in its place is replaced, never followed (CWE-59). Files that cluster.yaml names are read here as well.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from kharden.errors import InputError, KhardenError, MissingError, RefusedError

if TYPE_CHECKING:
    from pathlib import Path


class WriteError(KhardenError, OSError):
    """A file could not be written; what was there before is untouched."""


def make_folder(path: Path, *, mode: int = 0o755) -> None:
    """Make `path` and its parents; the last one gets `mode`, unless it is there already."""
    try:
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{path}: can't make this folder ({error.strerror})", remedy="look at its parents") from None


def write(path: Path, content: bytes, *, mode: int = 0o644, lasting: bool = True) -> None:
    """Write `content` to `path` atomically, with `mode`; parents are made.

    What can be made again, and is held against a digest before it is used, needs not be `lasting`: nobody waits for
    the disk, and a power cut may leave it empty.

    Raises:
        WriteError: the disk is full, read-only or not ours; the old file is still whole.
    """
    make_folder(path.parent)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)
            stream.write(content)
            stream.flush()
            if lasting:
                os.fsync(descriptor)
        temporary.rename(path)
        if lasting:
            settle(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise WriteError(
            f"{path}: can't write ({error.strerror})", remedy="free the disk or mend the folder, then run it again"
        ) from None


def settle(folder: Path) -> None:
    """Bring a folder's names to the disk, not only its files' bytes: after a power cut a rename is else undone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that keeps no such promise at all (fsync(2))
            raise
    finally:
        os.close(descriptor)


def read_inside(folder: Path, path: str, *, limit: int) -> bytes:
    """The regular file `path` below `folder`, followed through no symbolic link and never out of it.

    Args:
        folder: a cluster's folder.
        path: relative, as cluster.yaml names it.
        limit: how many bytes it may have at most.

    Raises:
        InputError: the path leads out of the folder, or the file is too large or no regular one.
        MissingError: there is no such file, or it can't be read.
        RefusedError: there is a symbolic link on the way.
    """
    shown, steps = folder / path, path.split("/")
    if {"", ".", ".."} & set(steps):
        raise InputError(f"{path}: leads out of the cluster's folder", remedy="name a file inside it")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, step in enumerate(steps, start=1):
            # O_NONBLOCK: a pipe without a writer would keep us waiting.
            kind = os.O_NONBLOCK if number == len(steps) else os.O_DIRECTORY
            inner = os.open(step, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"{shown}: is no file", remedy="put the file itself there")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        raise _unreadable(shown, error) from None
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise InputError(f"{shown}: is larger than {limit} bytes", remedy="name the right file")
    return content


def _unreadable(path: Path, error: OSError) -> KhardenError:
    # A link in a folder's place is "not a directory" under O_DIRECTORY, as a file there is.
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return RefusedError(
            f"{path}: a symbolic link is on the way, or a file in a folder's place", remedy="put the file itself there"
        )
    return MissingError(f"{path}: can't be read ({error.strerror})", remedy="put it there, or mend its mode")


def write_if_changed(path: Path, content: bytes, *, mode: int = 0o644, lasting: bool = True) -> bool:
    """As `write`, but leave a file alone that already holds `content` with `mode`; True if it was written."""
    try:
        if not path.is_symlink() and path.read_bytes() == content and path.stat().st_mode & 0o7777 == mode:
            return False
    except OSError:
        pass
    write(path, content, mode=mode, lasting=lasting)
    return True
