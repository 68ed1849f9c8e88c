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
from kharden.artifacts.packages import Packages
from kharden.artifacts.published import Published
from kharden.artifacts.record import Record
from kharden.artifacts.store import DamagedError
from kharden.errors import InputError, IntegrityError, KhardenError, MissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self, TypeVar

    from kharden.artifacts.debian import Package
    from kharden.artifacts.forms import Architecture
    from kharden.artifacts.lock import Image, Program, Release
    from kharden.artifacts.model import Progress
    from kharden.artifacts.store import Store
    from kharden.plan.model import ArtifactsPlan

    Made = TypeVar("Made", File, ImageFile)

ARCHITECTURES: dict[str, Architecture] = {"amd64": "amd64", "arm64": "arm64"}


def fetch(kubernetes: str, architecture: str, origin: ArtifactsPlan, *, store: Store, progress: Progress) -> Artifacts:
    """Make sure that all programs and images of `kubernetes` ("1.36.3") for `architecture` lie in `store`.

    Raises:
        InputError: the lock does not know this version or architecture; nothing was done.
        MissingError: the lock pins no bytes for them, or this machine lacks what is needed to make them.
        BuildError, AptError, AbsentPackageError, DownloadError: something could not be made or fetched.
        IntegrityError: something is not what was pinned; nothing of it was kept.
    """
    own = lock.load()
    release = own.kubernetes(kubernetes)
    record = Record(own, pinned(release, architecture, origin), store, origin.official)
    with Maker(record, origin, progress) as maker:
        maker.bring(release.programs)
        programs = {program.name: maker.program(program) for program in release.programs}
        packages = maker.packages(release.images)
        images = tuple(maker.image(each, programs, packages if each.debian else ()) for each in release.images)
        others = Packages(own.debian, record.architecture, origin, store).notes(packages)
        notes = (*maker.notes, *others, *signatures(programs.values()))
        return Artifacts(kubernetes, architecture, programs, images, notes, pinned=not others)


def signatures(programs: Iterable[File]) -> tuple[str, ...]:
    """What is known of publishers' signatures, a line for each state of knowledge."""
    states: dict[str, list[str]] = {}
    for file in programs:
        if file.signature:
            states.setdefault(file.signature, []).append(file.name)
    return tuple(f"signature of {', '.join(names)}: {state}" for state, names in states.items())


def expected(kubernetes: str, architecture: str, origin: ArtifactsPlan, *, store: Store) -> dict[str, str]:
    """The SHA-256 that each program must have on a node, by its name.

    For a program of a published archive that follows from the lock's digest of the archive, and is known once that
    lies in `store`; without it the program is left out.

    Raises:
        InputError, MissingError: as `fetch`.
    """
    own = lock.load()
    release = own.kubernetes(kubernetes)
    known = pinned(release, architecture, origin)
    record = Record(own, known, store, origin.official)
    found = {}
    for program in release.programs:
        if not origin.official:
            found[program.name] = program.built[known]
        elif program.release_form == "program":
            found[program.name] = program.release[known]
        elif file := record.program(program):
            found[program.name] = file.sha256
    return found


def verify(kubernetes: str, architecture: str, origin: ArtifactsPlan, *, store: Store) -> Artifacts:
    """Read every byte of what `fetch` made and compare it with its digest; nothing is made.

    Raises:
        IntegrityError: something is damaged or missing, each a line of the details; what was damaged is removed.
        InputError, MissingError: as `fetch`.
    """
    own = lock.load()
    release = own.kubernetes(kubernetes)
    record = Record(own, pinned(release, architecture, origin), store, origin.official)
    programs = {each.name: file for each in release.programs if (file := record.program(each))}
    pins = Packages(own.debian, record.architecture, origin, store)
    packages = pins.held()
    absent = [f"{each}: not fetched" for each in release.programs if each.name not in programs]
    needed = any(each.debian for each in release.images)
    absent += ["Debian packages: not fetched"] if needed and not packages else []
    images = (
        [] if absent else [record.image(each, programs, packages if each.debian else ()) for each in release.images]
    )
    absent += [f"{each.reference}: not made" for each, file in zip(release.images, images, strict=False) if not file]
    present = tuple(file for file in images if file)
    used = packages if needed else ()
    problems = [*absent, *_damaged(store, [*programs.values(), *used, *present])]
    if problems:
        raise IntegrityError(problems[0], remedy="run `artifacts.fetch`, which makes it anew", details=problems[1:])
    others = pins.notes(used)
    notes = (*others, *signatures(programs.values()))
    return Artifacts(kubernetes, architecture, programs, present, notes, pinned=not others)


def _damaged(store: Store, files: Sequence[File | Package | ImageFile]) -> list[str]:
    problems = []
    for file in files:
        try:
            store.verify(_digest(file))
        except KhardenError as error:
            problems.append(f"{_title(file)}: {error.message}")
    return problems


def pinned(release: Release, architecture: str, origin: ArtifactsPlan) -> Architecture:
    """`architecture`, if the lock says for each program of `release` what its bytes are there.

    Raises:
        InputError: no such architecture.
        MissingError: it is not pinned.
    """
    known = ARCHITECTURES.get(architecture)
    if known is None:
        raise InputError(f"architecture {architecture!r}: unknown", remedy=f"use one of {', '.join(ARCHITECTURES)}")
    unpinned = [each for each in release.programs if known not in (each.release if origin.official else each.built)]
    if not unpinned:
        return known
    names = ", ".join(each.name for each in unpinned)
    if origin.official:
        raise MissingError(
            f"Kubernetes {release.kubernetes} on {known}: the lock has no official digest of {names}",
            remedy="choose a version of which it has all, or say artifacts.source: source to take kharden's own builds",
        )
    raise MissingError(
        f"Kubernetes {release.kubernetes} on {known}: the lock has no digest of our own build of {names}",
        remedy="use another architecture, or pin it (python -m kharden.artifacts.pin)",
    )


class Maker:
    """Gives programs and images from the cache, and fetches or makes what is not there.

    A context: it keeps the cache's `work` folder from the first thing that it makes until it is left.
    """

    def __init__(self, record: Record, origin: ArtifactsPlan, progress: Progress) -> None:
        self.notes: list[str] = []
        self._record = record
        self._origin = origin
        self._store = record.store
        self._progress = progress
        self._published = Published(record, origin.mirror)
        self._stack = ExitStack()
        self._work: Path | None = None
        self._go: toolchain.Go | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def bring(self, programs: Sequence[Program]) -> None:
        """Fetch what is missing of `programs`, several files at once; those that are compiled here need nothing.

        Raises:
            DownloadError, IntegrityError, WriteError: something could not be fetched; what was is kept.
        """
        if self._origin.official or self._origin.mirror:
            absent = [each for each in programs if not self._intact(str(each), self._record.program(each))]
            if absent:
                self._claim_work()
                self._published.bring(absent, self._progress)

    def program(self, program: Program) -> File:
        """`program`, fetched or compiled if need be."""
        if self._origin.official:
            make = self._published.official
        elif self._origin.mirror:
            make = self._published.built
        else:
            make = self._compile
        return self._get(str(program), lambda: self._record.program(program), lambda folder: make(program, folder))

    def packages(self, images: Sequence[Image]) -> tuple[Package, ...]:
        """The Debian packages that `images` need, fetched if need be; none where none needs any."""
        names = sorted({name for image in images if image.debian for name in image.debian.packages})
        if not names:
            return ()
        started, title = time.monotonic(), f"Debian's {', '.join(names)}"
        self._progress.start(title)
        pins = Packages(self._record.lock.debian, self._record.architecture, self._origin, self._store)
        found = pins.held()
        cached = bool(found)
        if not found:
            self._claim_work()
            with tempfile.TemporaryDirectory(dir=self._work) as folder:
                found = pins.held() or pins.obtain(names, Path(folder))
        self._progress.done(title, time.monotonic() - started, cached)
        return found

    def image(self, wanted: Image, programs: Mapping[str, File], packages: Sequence[Package] = ()) -> ImageFile:
        """`wanted`, made of `programs` (by name) and `packages` if need be."""
        return self._get(
            wanted.reference,
            lambda: self._record.image(wanted, programs, packages),
            lambda folder: self._assemble(wanted, programs, packages, folder),
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
        # Another process may have made it while we waited.
        if self._claim_work() and (found := self._intact(title, recorded())):
            return found
        with tempfile.TemporaryDirectory(dir=self._work) as folder:
            return make(Path(folder))

    def _claim_work(self) -> bool:
        """Have the cache's work folder for ourselves; whether that is so only now."""
        if self._work is not None:
            return False
        self._work = self._stack.enter_context(self._store.work())
        return True

    def _intact(self, title: str, file: Made | None) -> Made | None:
        try:
            if file is not None:
                self._store.path(_digest(file))
        except MissingError:
            return None
        except DamagedError as error:
            self.notes.append(f"{title}: {error.message}")
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

    def _assemble(
        self, wanted: Image, programs: Mapping[str, File], packages: Sequence[Package], folder: Path
    ) -> ImageFile:
        contents = {path: programs[name].sha256 for path, name in wanted.programs.items()}
        entries = [Entry(path, self._store.path(sha256), sha256) for path, sha256 in contents.items()]
        links: dict[str, str] = {}
        if wanted.debian:
            extra = debian.files(wanted.debian, self._record.architecture, packages, self._store)
            entries += [Entry(path, content, _sha256(content), mode) for path, (content, mode) in extra.items()]
            links = debian.links(list(extra))
        archive = image.write(wanted, self._record.architecture, entries, links, folder)
        size = archive.path.stat().st_size
        sha256 = self._store.add(archive.path)
        file = ImageFile(wanted.reference, archive.manifest, sha256, size, contents, tuple(packages))
        self._record.keep_image(wanted, programs, file)
        return file


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest(file: File | Package | ImageFile) -> str:
    return file.archive if isinstance(file, ImageFile) else file.sha256


def _title(file: File | Package | ImageFile) -> str:
    return file.reference if isinstance(file, ImageFile) else f"{file.name} {file.version}"
