"""Apply a build to its nodes."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kharden import securefile
from kharden.apply.build import load
from kharden.apply.payload import payload
from kharden.apply.runner import ApplyResult, Progress, Run, run
from kharden.apply.workspace import workspace
from kharden.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kharden.seal import Identities


def apply(  # noqa: PLR0913  # what it reads, what it may open, and how it shall go
    folder: Path, *, spec_digest: str, identities: Identities, cache: Path, progress: Progress, check: bool = False
) -> ApplyResult:
    """Make the nodes what build/<cluster>/ in `folder` says; with `check` only look what would change.

    Raises:
        RefusedError: the build is not of this cluster.yaml, or somebody else applies it now.
        IntegrityError: a file of the build was changed after it was rendered.
        RemoteError: something failed on a node; the next run goes on from there.
    """
    for path in (folder, cache):
        if "{" in str(path):  # Ansible takes a path for a template where it looks like one
            raise RefusedError(f"{path}: has a brace in its name", remedy="use a folder without braces")
    build = load(folder, spec_digest)
    with _one_at_a_time(folder), workspace() as private:
        for node in build.nodes:
            securefile.write(private / "payloads" / f"{node}.payload", payload(build, node, identities), mode=0o600)
        return run(Run(folder, private, cache, check=check, diff=check), progress)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the lock of a build; the kernel lets go of it when the process ends, however it ends."""
    path = folder.parent / f".{folder.name}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RefusedError(f"{path}: can't lock the build ({error.strerror})", remedy="look at what is there") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 64).decode(errors="replace").strip() or "another process"
            raise RefusedError(f"{folder}: {holder} applies it now", remedy="wait until it has ended") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
