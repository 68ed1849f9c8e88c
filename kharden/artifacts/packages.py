"""The Debian packages of an image: the ones that the lock pins, or, in the lab alone and never silently, others.

Debian's mirrors drop a version when the next one comes, so what is pinned can't be had there for ever (docs/adr/0016).
A real cluster then refuses and names where old versions are; in the lab, what Debian's archive signs today will do.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from kharden.artifacts import apt
from kharden.artifacts.debian import Package
from kharden.artifacts.debian_mirror import KEYRING, VARIABLE, Archives, debian_archives
from kharden.artifacts.download import Downloader, Wanted
from kharden.artifacts.published import BUILDS
from kharden.artifacts.store import DamagedError
from kharden.errors import KhardenError, MissingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kharden.artifacts.forms import Architecture
    from kharden.artifacts.lock import DebianPackage, DebianPins
    from kharden.artifacts.store import Store
    from kharden.plan.model import ArtifactsPlan

SNAPSHOT = "https://snapshot.debian.org/archive/debian"
RENEW = "python -m kharden.artifacts.pin packages"
_SECTION = "packages"  # of the cache's index: what was taken in place of pinned ones


class AbsentPackageError(KhardenError):
    """A pinned package can't be had."""


class Packages:
    """The packages that `pins` names for one architecture, in `store`."""

    def __init__(self, pins: DebianPins, architecture: Architecture, origin: ArtifactsPlan, store: Store) -> None:
        self._pins = pins
        self._wanted = pins.packages.get(architecture, ())
        self._architecture = architecture
        self._origin = origin
        self._store = store

    def held(self) -> tuple[Package, ...]:
        """Those that the cache has: the pinned ones, else where that is allowed what was taken for them; or none."""
        if not self._absent():
            return self._pinned()
        taken = self._store.recall(_SECTION, self._key()) if self._origin.other_packages else None
        packages = tuple(Package(**each) for each in taken or ())
        return packages if all(self._holds(package.sha256) for package in packages) else ()

    def obtain(self, names: Sequence[str], work: Path) -> tuple[Package, ...]:
        """Fetch what is missing into the store, whose `work` this is; `names` are those that images ask for.

        Raises:
            MissingError: the lock pins none for this architecture, or this machine has no apt.
            AbsentPackageError: a pinned one can't be had, and no other may be taken.
            AptError: neither can another.
            DownloadError, IntegrityError, WriteError: a mirror of ours doesn't have one, or has another file.
        """
        if not self._wanted:
            raise MissingError(f"the lock has no Debian packages for {self._architecture}", remedy="use another")
        try:
            if self._origin.mirror:
                self._from_mirror()
            else:
                self._from_debian(debian_archives(), work)
        except (AbsentPackageError, MissingError):
            if not self._origin.other_packages or self._origin.mirror:
                raise
            return self._others(names, work)
        return self._pinned()

    def notes(self, packages: Sequence[Package]) -> tuple[str, ...]:
        """A line for a person where `packages` are not the pinned ones."""
        known = {each.sha256 for each in self._wanted}
        others = [str(each) for each in packages if each.sha256 not in known]
        if not others:
            return ()
        asked = f"set {VARIABLE}={self._snapshot()}, or renew the pins ({RENEW})"
        return (f"Debian packages in images: not the pinned ones but {', '.join(others)}; for the pinned ones {asked}",)

    def _from_mirror(self) -> None:
        """Nothing is asked of anyone else."""
        files = [
            Wanted(f"{each} from {self._origin.mirror}", f"{self._origin.mirror}/{BUILDS}/{each.sha256}", each.sha256)
            for each in self._absent()
        ]
        for wanted, path in Downloader(self._store.downloads).fetch_all(files, lambda *_: None):
            self._store.add(path, expected=wanted.sha256)

    def _from_debian(self, archives: Archives, work: Path) -> None:
        for package, file in apt.download(self._absent(), archives):
            self._add(file, work, package.sha256)
        for package in self._absent():
            what = f"{archives.address(package.path)}: not there, or not the file of {package} that the lock pins"
            remedy = f"set {VARIABLE}={self._snapshot()}, which has old versions, or renew the pins ({RENEW})"
            raise AbsentPackageError(what, remedy=remedy)

    def _others(self, names: Sequence[str], work: Path) -> tuple[Package, ...]:
        """What Debian's archive signs today for the same release; it is recorded, and `notes` tells of it each time.

        A machine of another distribution takes its own release's.
        """
        archives = None
        with suppress(MissingError):
            archives = debian_archives() if KEYRING.is_file() else None
        with apt.resolved(names, self._architecture, suite=self._pins.suite, archives=archives) as found:
            packages = tuple(Package(each.name, each.version, self._add(each.file, work)) for each in found)
        self._store.record(_SECTION, self._key(), [asdict(package) for package in packages])
        return packages

    def _add(self, file: Path, work: Path, expected: str = "") -> str:
        copy = work / file.name
        shutil.copyfile(file, copy)
        return self._store.add(copy, expected=expected)

    def _pinned(self) -> tuple[Package, ...]:
        return tuple(Package(each.name, each.version, each.sha256) for each in self._wanted)

    def _absent(self) -> list[DebianPackage]:
        return [each for each in self._wanted if not self._holds(each.sha256)]

    def _holds(self, sha256: str) -> bool:
        try:
            self._store.path(sha256)
        except (MissingError, DamagedError):
            return False
        return True

    def _snapshot(self) -> str:
        return f"{SNAPSHOT}/{self._pins.taken}"

    def _key(self) -> str:
        """Other pins or another mirror: the pinned ones are asked for again."""
        pinned = hashlib.sha256("".join(sorted(each.sha256 for each in self._wanted)).encode()).hexdigest()
        return f"{self._architecture} {pinned} {os.environ.get(VARIABLE, '')}"
