"""One run at a time on a build: who renders it, applies it or plans with it holds this lock."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kharden.errors import RefusedError
from kharden.securefile import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of the build in `folder`; the kernel lets go of it when the process ends, however it ends.

    Raises:
        RefusedError: another process holds it, or it can't be made.
    """
    path = folder.parent / f".{folder.name}.lock"
    make_folder(folder.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RefusedError(f"{path}: can't lock the build ({error.strerror})", remedy="look at what is there") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 64).decode(errors="replace").strip() or "another process"
            raise RefusedError(f"{folder}: {holder} works with it now", remedy="wait until it has ended") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
