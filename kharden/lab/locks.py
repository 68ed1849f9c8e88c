"""Locks between runs of kharden on one machine; the kernel lets go of them however a run ends."""

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
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock file `path`; who holds it is written in it.

    Raises:
        RefusedError: another run holds it, and `wait` is false.
    """
    descriptor = _take(path, wait=wait)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(path: Path, *, wait: bool) -> int:
    while True:
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace") or "unknown"
            os.close(descriptor)
            raise RefusedError(
                f"{path}: another run is at it (process {holder})", remedy="wait for its end, then try again"
            ) from None
        # The holder before us may have removed the file while we waited: then the lock is that of nobody.
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)
