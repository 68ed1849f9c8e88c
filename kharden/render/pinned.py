"""Files of the user's own that cluster.yaml pins by their digests."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

from kharden.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT = 8 << 20


def read_network(manifest: tuple[str, str] | None, folder: Path) -> bytes | None:
    """The file of plugin "manifest", by its name and SHA-256, which lies in `folder`; None for another plugin.

    Raises:
        InputError: there is no such file, or it is none, or too large.
        IntegrityError: its digest is another.
    """
    if manifest is None:
        return None
    name, wanted = manifest
    path = folder / name
    content = _content(path)
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise IntegrityError(
            f"{path}: its SHA-256 is {found}, not the one in spec.network.manifest",
            remedy="find out who changed it; if it is meant, write the new one",
        )
    return content


def _content(path: Path) -> bytes:
    try:
        # No link is followed, and a pipe without a writer doesn't keep us waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})", remedy="put the file itself there") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"{path}: this is not a file", remedy="put the file itself there")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            content = stream.read(_LIMIT + 1)
    finally:
        os.close(descriptor)
    if len(content) > _LIMIT:
        raise InputError(f"{path}: this file is larger than {_LIMIT >> 20} MiB", remedy="pin a smaller one")
    return content
