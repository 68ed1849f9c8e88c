"""Get everything that a cluster of one Kubernetes version needs into the cache.

What is there and intact is used; what is missing, damaged or made from something else is made anew. One process makes
at a time: another waits, and then finds what the first one made.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.artifacts import debian, image, lock, source, toolchain
from kharden.artifacts.image import Entry
from kharden.artifacts.model import Artifacts, File, ImageFile
from kharden.artifacts.record import Record
from kharden.artifacts.store import DamagedError
from kharden.errors import InputError, IntegrityError, KhardenError, MissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self, TypeVar

    from kharden.artifacts.lock import Architecture, DebianFiles, Image, Program, Release
    from kharden.artifacts.model import Progress
    from kharden.artifacts.store import Store

    Made = TypeVar("Made", File, ImageFile)

ARCHITECTURES: dict[str, Architecture] = {"amd64": "amd64", "arm64": "arm64"}


def fetch(kubernetes: str, architecture: str, *, store: Store, progress: Progress) -> Artifacts:
    """Make sure that all programs and images of `kubernetes` ("1.36.3") for `architecture` lie in `store`.

    Raises:
        InputError: the lock does not know this version or architecture; nothing was done.
        MissingError: the lock pins no bytes for them, or this machine lacks what is needed to make them.
        BuildError, AptError, DownloadError: something could not be made or fetched.
        IntegrityError: something is not what was pinned; nothing of it was kept.
    """
    own = lock.load()
    release = own.kubernetes(kubernetes)
    record = Record(own, pinned(release, architecture), store)
    with Maker(record, progress) as maker:
        programs = {program.name: maker.program(program) for program in release.programs}
        images = tuple(maker.image(each, programs) for each in release.images)
        return Artifacts(kubernetes, architecture, programs, images, tuple(maker.healed))


def verify(kubernetes: str, architecture: str, *, store: Store) -> Artifacts:
    """Read every byte of what `fetch` made and compare it with its digest; nothing is made.

    Raises:
        IntegrityError: something is damaged or missing, each a line of the details; what was damaged is removed.
        InputError, MissingError: as `fetch`.
    """
    own = lock.load()
    release = own.kubernetes(kubernetes)
    record = Record(own, pinned(release, architecture), store)
    programs = {each.name: file for each in release.programs if (file := record.program(each))}
    absent = [f"{each}: not fetched" for each in release.programs if each.name not in programs]
    images = [] if absent else [record.image(each, programs) for each in release.images]
    absent += [f"{each.reference}: not made" for each, file in zip(release.images, images, strict=False) if not file]
    present = tuple(file for file in images if file)
    problems = [*absent, *_damaged(store, [*programs.values(), *present])]
    if problems:
        raise IntegrityError(problems[0], remedy="run `artifacts.fetch`, which makes it anew", details=problems[1:])
    return Artifacts(kubernetes, architecture, programs, present)


def _damaged(store: Store, files: list[File | ImageFile]) -> list[str]:
    problems = []
    for file in files:
        try:
            store.verify(_digest(file))
        except KhardenError as error:
            problems.append(f"{_title(file)}: {error.message}")
    return problems


def pinned(release: Release, architecture: str) -> Architecture:
    """`architecture`, if the lock says for each program of `release` what its bytes are there.

    Raises:
        InputError: no such architecture.
        MissingError: it is not pinned.
    """
    known = ARCHITECTURES.get(architecture)
    if known is None:
        raise InputError(f"architecture {architecture!r}: unknown", remedy=f"use one of {', '.join(ARCHITECTURES)}")
    unpinned = [f"{program}" for program in release.programs if known not in program.built]
    if unpinned:
        raise MissingError(
            f"{unpinned[0]}: the lock pins no bytes for {known}",
            remedy="use another architecture, or pin it (python -m kharden.artifacts.pin)",
            details=unpinned[1:],
        )
    return known


class Maker:
    """Gives programs and images from the cache, and makes what is not there.

    A context: it keeps the cache's `work` folder from the first thing that it makes until it is left.
    """

    def __init__(self, record: Record, progress: Progress) -> None:
        self.healed: list[str] = []
        self._record = record
        self._store = record.store
        self._progress = progress
        self._stack = ExitStack()
        self._work: Path | None = None
        self._go: toolchain.Go | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def program(self, program: Program) -> File:
        """`program`, compiled if need be."""
        return self._get(
            str(program),
            lambda: self._record.program(program),
            lambda folder: self._compile(program, folder),
        )

    def image(self, wanted: Image, programs: Mapping[str, File]) -> ImageFile:
        """`wanted`, made of `programs` (by name) if need be."""
        return self._get(
            wanted.reference,
            lambda: self._record.image(wanted, programs),
            lambda folder: self._assemble(wanted, programs, folder),
        )

    def _get(self, title: str, recorded: Callable[[], Made | None], make: Callable[[Path], Made]) -> Made:
        started = time.monotonic()
        self._progress.start(title)
        found = self._intact(title, recorded())
        cached = found is not None
        made = found or self._make(title, recorded, make)
        self._progress.done(title, time.monotonic() - started, cached)
        return made

    def _make(self, title: str, recorded: Callable[[], Made | None], make: Callable[[Path], Made]) -> Made:
        if self._work is None:
            self._work = self._stack.enter_context(self._store.work())
            if found := self._intact(title, recorded()):  # another process made it while we waited
                return found
        with tempfile.TemporaryDirectory(dir=self._work) as folder:
            return make(Path(folder))

    def _intact(self, title: str, file: Made | None) -> Made | None:
        try:
            if file is not None:
                self._store.path(_digest(file))
        except MissingError:
            return None
        except DamagedError as error:
            self.healed.append(f"{title}: {error.message}")
            return None
        return file

    def _compile(self, program: Program, folder: Path) -> File:
        recipe = self._record.recipe(program)
        log = self._store.logs / f"{program.name}-{program.version}-{recipe.architecture}.log"
        if self._go is None:
            self._go = toolchain.find(self._record.lock.toolchain, self._store, folder.parent)
        made = source.build(recipe, go=self._go, work=folder, log=log)
        size = made.stat().st_size
        sha256 = self._store.add(made, mode=0o555, expected=program.built.get(recipe.architecture, ""))
        return self._record.keep_program(program, sha256, size)

    def _assemble(self, wanted: Image, programs: Mapping[str, File], folder: Path) -> ImageFile:
        contents = {path: programs[name].sha256 for path, name in wanted.programs.items()}
        entries = [Entry(path, self._store.path(sha256), sha256) for path, sha256 in contents.items()]
        packages: tuple[debian.Package, ...] = ()
        links: dict[str, str] = {}
        if wanted.debian:
            packages, extra = self._debian(wanted.debian, folder)
            entries += extra
            links = debian.links([entry.path for entry in extra])
        archive = image.write(wanted, self._record.architecture, entries, links, folder)
        size = archive.path.stat().st_size
        sha256 = self._store.add(archive.path)
        file = ImageFile(wanted.reference, archive.manifest, sha256, size, contents, packages)
        self._record.keep_image(wanted, programs, file)
        return file

    def _debian(self, wanted: DebianFiles, folder: Path) -> tuple[tuple[debian.Package, ...], list[Entry]]:
        packages = debian.packages(wanted, self._record.architecture, self._store, folder)
        files = debian.files(wanted, self._record.architecture, packages, self._store)
        return packages, [
            Entry(path, content, hashlib.sha256(content).hexdigest(), mode) for path, (content, mode) in files.items()
        ]


def _digest(file: File | ImageFile) -> str:
    return file.sha256 if isinstance(file, File) else file.archive


def _title(file: File | ImageFile) -> str:
    return f"{file.name} {file.version}" if isinstance(file, File) else file.reference
