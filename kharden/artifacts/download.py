"""Files from elsewhere, known by their digest: several at once, resumable, bounded in size and in time.

A part that was fetched stays below the cache's `downloads` and is gone on with, after whatever cut it off; only a
whole file with the expected digest leaves that folder.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kharden import securefile
from kharden.artifacts.store import digest_of
from kharden.artifacts.transport import (
    ELSEWHERE,
    AbsentError,
    DownloadError,
    Opened,
    PassingError,
    Transport,
    WholeError,
    shown,
)
from kharden.errors import IntegrityError, KhardenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PARALLEL = 4
CHUNK = 1 << 18
SMALLEST_PART = 1 << 16  # bytes: asking for the rest of less costs more than it saves
LARGEST_TEXT = 1 << 16  # bytes of a signature or certificate


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server may do to us.

    Attributes:
        largest: Of one file, in bytes; the largest that is published for a cluster has less than a quarter of it.
        timeout: Seconds without a byte, or without a connection.
        slowest: Bytes a second, on average, once `grace` seconds have passed.
        attempts: How often a file is asked for that was cut off, or for which the server had an excuse (status 5xx).
        pause: Seconds before the second attempt; each further one waits twice as long as the one before.
    """

    largest: int = 512 << 20
    timeout: float = 30
    slowest: int = 4 << 10
    grace: float = 30
    attempts: int = 4
    pause: float = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file: what it is called, where it lies (an https address or an absolute path), what it must be."""

    title: str
    location: str
    sha256: str


def _unheard(done: int, total: int) -> None:
    """Nobody wants to know."""


class Downloader:
    """Fetches files into `folder`, which is its alone while it does."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._folder = folder
        self._transport = Transport(self.limits.timeout)
        self._stop = threading.Event()

    def fetch(self, wanted: Wanted, hear: Callable[[int, int], None] = _unheard) -> Path:
        """The whole, verified file below this downloader's folder; `hear` is told bytes so far and in all (0: unsaid).

        Raises:
            DownloadError: it can't be had, or is too large, or comes too slowly.
            IntegrityError: it is another file; it has been removed.
            WriteError: the disk is full or read-only.
        """
        securefile.make_folder(self._folder, mode=0o700)
        part = self._folder / f"{wanted.sha256}.part"
        pieced = self._bring(wanted.location, part, hear)
        found = digest_of(part)
        if found != wanted.sha256 and pieced:  # of two different files, perhaps: once more, in one piece
            part.unlink()
            self._bring(wanted.location, part, hear)
            found = digest_of(part)
        if found != wanted.sha256:
            size = part.stat().st_size
            part.unlink()
            raise IntegrityError(
                f"{shown(wanted.location)}: {size} bytes with sha256 {found}, not the lock's {wanted.sha256}, removed",
                remedy="fetch it from somewhere else (artifacts.mirror), and tell whoever runs that place",
            )
        return part

    def fetch_all(
        self, files: Sequence[Wanted], hear: Callable[[str, int, int], None]
    ) -> Iterator[tuple[Wanted, Path]]:
        """Several at once, each as soon as it is there; after the first that fails no other one is begun.

        Raises:
            DownloadError, IntegrityError, WriteError: as `fetch`; others that failed as well are in the details.
        """
        pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="download")
        running = {pool.submit(self.fetch, wanted, _named(hear, wanted.title)): wanted for wanted in files}
        pending = set(running)
        try:
            while pending:
                ended, pending = wait(pending, return_when=FIRST_COMPLETED)
                failed = [error for each in ended if (error := each.exception())]
                if failed:
                    raise _together(failed)
                for each in ended:
                    yield running[each], each.result()
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self._stop.clear()

    def text(self, location: str) -> bytes | None:
        """A small file without a digest (a signature), or None where there is none.

        Raises:
            DownloadError: it can't be had.
        """
        try:
            with self._transport.open(location) as opened:
                content = opened.stream.read(LARGEST_TEXT + 1)
        except AbsentError:
            return None
        except PassingError as error:
            raise DownloadError(f"{shown(location)}: can't fetch ({error})", remedy=ELSEWHERE) from None
        if len(content) > LARGEST_TEXT:
            raise DownloadError(f"{shown(location)}: more than {LARGEST_TEXT} bytes, too large", remedy=ELSEWHERE)
        return content

    def _bring(self, location: str, part: Path, hear: Callable[[int, int], None]) -> bool:
        """Fetch until it is whole; whether bytes of an earlier attempt are in it."""
        pause, pieced = self.limits.pause, False
        for attempt in range(1, self.limits.attempts + 1):
            try:
                return self._transfer(location, part, hear) or pieced
            except WholeError:
                return True
            except PassingError as error:
                if attempt == self.limits.attempts:
                    what = f"{shown(location)}: can't fetch ({error}; asked {attempt} times)"
                    raise DownloadError(what, remedy=ELSEWHERE) from None
            pieced = True
            if self._stop.wait(pause):
                raise _stopped(location)
            pause *= 2
        raise AssertionError(location)  # the last attempt returns or raises

    def _transfer(self, location: str, part: Path, hear: Callable[[int, int], None]) -> bool:
        """One attempt, from where the last one ended; whether it could go on from there."""
        have = part.stat().st_size if part.exists() else 0
        with self._transport.open(location, have if have >= SMALLEST_PART else 0) as opened:
            if opened.total > self.limits.largest:
                part.unlink(missing_ok=True)
                raise DownloadError(f"{shown(location)}: {opened.total} bytes, too large", remedy=ELSEWHERE)
            with _writing(part, opened.begins) as target:
                got = self._copy(location, opened, target, hear)
        if got > self.limits.largest:
            part.unlink()
            what = f"{shown(location)}: more than {self.limits.largest} bytes, too large"
            raise DownloadError(what, remedy=ELSEWHERE)
        if opened.total and got != opened.total:
            raise PassingError(f"cut off after {got} of {opened.total} bytes")
        return bool(opened.begins)

    def _copy(self, location: str, opened: Opened, target: IO[bytes], hear: Callable[[int, int], None]) -> int:
        began, got = time.monotonic(), opened.begins
        while got <= self.limits.largest and (chunk := opened.read(CHUNK)):
            _write(target, chunk)
            got += len(chunk)
            hear(got, opened.total)
            if self._stop.is_set():
                raise _stopped(location)
            seconds = time.monotonic() - began
            if seconds > self.limits.grace and (got - opened.begins) / seconds < self.limits.slowest:
                speed = int((got - opened.begins) / seconds)
                raise DownloadError(f"{shown(location)}: too slow ({speed} bytes a second)", remedy=ELSEWHERE)
        return got


@contextmanager
def _writing(part: Path, begins: int) -> Iterator[IO[bytes]]:
    try:
        target = part.open("r+b" if begins else "wb", buffering=0)
    except OSError as error:
        raise _unwritten(part, error) from None
    with target:
        target.seek(begins)
        target.truncate()
        yield target


def _write(target: IO[bytes], chunk: bytes) -> None:
    try:
        left = memoryview(chunk)
        while left:
            left = left[target.write(left) :]
    except OSError as error:
        raise _unwritten(Path(target.name), error) from None


def _unwritten(part: Path, error: OSError) -> securefile.WriteError:
    remedy = "free the disk or mend the folder, then run it again"
    return securefile.WriteError(f"{part}: can't write ({error.strerror})", remedy=remedy)


def _named(hear: Callable[[str, int, int], None], title: str) -> Callable[[int, int], None]:
    return lambda done, total: hear(title, done, total)


def _stopped(location: str) -> DownloadError:
    return DownloadError(f"{shown(location)}: stopped", remedy="run it again: it goes on where it was")


def _together(errors: Sequence[BaseException]) -> BaseException:
    """The first of ours, with the others below it; what isn't ours is a bug and comes before all."""
    ours = [error for error in errors if isinstance(error, KhardenError)]
    if len(ours) != len(errors):
        return next(error for error in errors if error not in ours)
    ours[0].details = (*ours[0].details, *map(str, ours[1:]))
    return ours[0]
