"""One program out of a published archive, whose digest was compared before: nothing else of it touches the disk."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from typing import IO, TYPE_CHECKING

from kharden.errors import IntegrityError

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 1 << 30  # bytes, unpacked; a whole archive of a cluster's programs has a quarter of it
_CHUNK = 1 << 20


def member(archive: Path, name: str, target: Path) -> None:
    """Write the file `name` of the gzipped tar file `archive` to `target`, executable.

    Names, links, modes and owners in the archive decide nothing: only the bytes of that one regular file are taken.

    Raises:
        IntegrityError: it isn't in it exactly once, is no regular file, or the archive is none or unpacks to too much.
    """
    found = 0
    try:
        with gzip.open(archive) as plain, tarfile.open(fileobj=_Bounded(plain), mode="r|") as content:
            for entry in content:
                if entry.name.removeprefix("./") != name:
                    continue
                stream = content.extractfile(entry) if entry.isreg() else None
                if stream is None or found:
                    raise IntegrityError(f"{archive}: {name} in it is not one regular file", remedy="report this")
                found += 1
                _write(stream, target)
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
        if isinstance(error, IntegrityError):
            raise
        raise IntegrityError(f"{archive}: can't be unpacked ({error})", remedy="report this") from None
    if not found:
        raise IntegrityError(f"{archive}: holds no {name}", remedy="report this")


def _write(stream: IO[bytes], target: Path) -> None:
    with target.open("wb") as written:
        while chunk := stream.read(_CHUNK):
            written.write(chunk)
    target.chmod(0o555)


class _Bounded(io.RawIOBase):
    """Reads through to a stream, so far and no further."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile) -> None:
        self._stream = stream
        self._left = LARGEST

    def read(self, size: int = -1) -> bytes:
        """As any stream's."""
        chunk = self._stream.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {LARGEST} bytes")
        return chunk
