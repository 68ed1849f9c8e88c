"""Writing files: the only place that does.

A file appears whole or not at all (temporary sibling, fsync, rename), with its mode from the first byte on, and a
symbolic link in its place is replaced, never followed (CWE-59).
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from kharden.errors import KhardenError

if TYPE_CHECKING:
    from pathlib import Path


class WriteError(KhardenError, OSError):
    """A file could not be written; what was there before is untouched."""


def make_folder(path: Path, *, mode: int = 0o755) -> None:
    """Make `path` and its parents; the last one gets `mode`, unless it is there already."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{path}: can't make this folder ({error.strerror})", remedy="look at its parents") from None


def write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write `content` to `path` atomically, with `mode`; parents are made.

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
            os.fsync(descriptor)
        temporary.rename(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise WriteError(
            f"{path}: can't write ({error.strerror})", remedy="free the disk or mend the folder, then run it again"
        ) from None


def write_if_changed(path: Path, content: bytes, *, mode: int = 0o644) -> bool:
    """As `write`, but leave a file alone that already holds `content` with `mode`; True if it was written."""
    try:
        if not path.is_symlink() and path.read_bytes() == content and path.stat().st_mode & 0o7777 == mode:
            return False
    except OSError:
        pass
    write(path, content, mode=mode)
    return True
