"""Programs that somebody else has ready: what their projects published, or our own builds from a mirror.

A mirror, a folder or an https address, has a published file below the host and path of its official address, and our
own builds and packages of Debian below `kharden/sha256`, by their digest.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kharden.artifacts import elf, signature, source, unpack
from kharden.artifacts.download import Downloader, Wanted
from kharden.artifacts.store import DamagedError
from kharden.errors import IntegrityError, MissingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kharden.artifacts.forms import Architecture
    from kharden.artifacts.lock import Program
    from kharden.artifacts.model import File, Progress
    from kharden.artifacts.record import Record

BUILDS = "kharden/sha256"


def location(program: Program, architecture: Architecture, mirror: str) -> str:
    """Where the published file of `program` lies: at its official address, or in `mirror`."""
    address = program.published_at(architecture)
    return f"{mirror}/{address.removeprefix('https://')}" if mirror else address


class Published:
    """Fetches for one architecture what the lock pins, from `mirror` or, without one, from the official addresses."""

    def __init__(self, record: Record, mirror: str) -> None:
        self._record = record
        self._store = record.store
        self._mirror = mirror
        self._downloader = Downloader(record.store.downloads)

    def bring(self, programs: Sequence[Program], progress: Progress) -> None:
        """Have the files of `programs` in the cache, several fetched at once; an archive of several once.

        Raises:
            DownloadError, IntegrityError, WriteError: one could not be fetched; those that were are kept.
        """
        files = {wanted.sha256: wanted for wanted in map(self._wanted, programs)}
        absent = [wanted for wanted in files.values() if self._held(wanted) is None]
        began = time.monotonic()
        for wanted in absent:
            progress.start(wanted.title)
        for wanted, path in self._downloader.fetch_all(absent, progress.advance):
            self._store.add(path, mode=0o555, expected=wanted.sha256)
            progress.done(wanted.title, time.monotonic() - began, cached=False)

    def official(self, program: Program, folder: Path) -> File:
        """`program` as it was published.

        Raises:
            DownloadError, IntegrityError, WriteError: it can't be had, or is not what it should be.
        """
        wanted = self._wanted(program)
        path = self._obtain(wanted)
        said = signature.check(
            program, path, self._record.lock.signer(program), wanted.location, self._downloader, folder
        )
        if program.release_form == "archive":
            target = folder / program.name
            unpack.member(path, program.member, target)
            self._check_architecture(target, program)
            size = target.stat().st_size
            return self._record.keep_published(program, self._store.add(target, mode=0o555), size, said)
        self._check_architecture(path, program)
        return self._record.keep_published(program, wanted.sha256, path.stat().st_size, said)

    def built(self, program: Program, folder: Path) -> File:  # noqa: ARG002 - as all ways to make a program
        """`program` as our own build gives it, from the mirror.

        Raises:
            DownloadError, IntegrityError, WriteError: it can't be had, or is not what it should be.
        """
        wanted = self._wanted(program)
        path = self._obtain(wanted)
        source.check(path, str(program), self._record.architecture)
        return self._record.keep_program(program, wanted.sha256, path.stat().st_size)

    def _wanted(self, program: Program) -> Wanted:
        architecture = self._record.architecture
        if not self._record.official:
            sha256 = program.built[architecture]
            return Wanted(f"{program} from {self._mirror}", f"{self._mirror}/{BUILDS}/{sha256}", sha256)
        place = location(program, architecture, self._mirror)
        host = place.removeprefix("https://").partition("/")[0] or self._mirror
        return Wanted(f"{place.rpartition('/')[2]} from {host}", place, program.release[architecture])

    def _obtain(self, wanted: Wanted) -> Path:
        held = self._held(wanted)
        if held is None:
            self._store.add(self._downloader.fetch(wanted), mode=0o555, expected=wanted.sha256)
            held = self._store.path(wanted.sha256)
        return held

    def _held(self, wanted: Wanted) -> Path | None:
        try:
            return self._store.path(wanted.sha256)
        except (MissingError, DamagedError):
            return None

    def _check_architecture(self, path: Path, program: Program) -> None:
        """What was pinned may still be a wrong file: nothing of it is kept.

        Raises:
            IntegrityError: it is no program for this architecture.
        """
        wanted = self._record.architecture
        with path.open("rb") as stream:
            try:
                found = elf.describe(stream, str(program)).architecture
            except IntegrityError:
                self._store.discard(program.release[wanted])
                raise
        if found != wanted:
            self._store.discard(program.release[wanted])
            raise IntegrityError(f"{program}: published for {found}, not {wanted}, removed", remedy="report this")
