"""What the cache's index knows of programs and images: what was made from what.

An entry's key is a digest of everything that decides the bytes, so an entry is never out of date: where something
changed, there is none.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from kharden.artifacts import image
from kharden.artifacts.debian import Package
from kharden.artifacts.model import File, ImageFile
from kharden.artifacts.source import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kharden.artifacts.forms import Architecture
    from kharden.artifacts.lock import Image, Lock, Program
    from kharden.artifacts.store import Store


@dataclass(frozen=True, slots=True)
class Record:
    """The index of `store` for one architecture; being recorded does not mean being intact.

    Attributes:
        official: It is asked for published files, not for our own builds.
    """

    lock: Lock
    architecture: Architecture
    store: Store
    official: bool = False

    def recipe(self, program: Program) -> Recipe:
        """How `program` is compiled here."""
        return Recipe(program, self.lock.module(program), self.architecture, self.lock.toolchain.version)

    def program(self, program: Program) -> File | None:
        """`program` as it was made or published, if that is what the lock pins."""
        if self.official:
            found = self.store.recall("published", self._published_key(program))
            return File(**found) if found else None
        found = self.store.recall("programs", self.recipe(program).key)
        if found is None or program.built.get(self.architecture, found["sha256"]) != found["sha256"]:
            return None
        return File(**found)

    def keep_program(self, program: Program, sha256: str, size: int) -> File:
        """Remember that compiling `program` gave `sha256`, which is in the store."""
        official = program.release_form == "program" and program.release.get(self.architecture) == sha256
        file = File(program.name, program.version, sha256, size, official)
        self.store.record("programs", self.recipe(program).key, asdict(file))
        return file

    def keep_published(self, program: Program, sha256: str, size: int, signature: str) -> File:
        """Remember that the published file of `program` is, or holds, `sha256`, which is in the store."""
        file = File(program.name, program.version, sha256, size, official=True, signature=signature)
        self.store.record("published", self._published_key(program), asdict(file))
        return file

    def _published_key(self, program: Program) -> str:
        """The digest of the published file decides all bytes in it."""
        return f"{program.release[self.architecture]} {program.member}"

    def image(self, wanted: Image, programs: Mapping[str, File], packages: Sequence[Package]) -> ImageFile | None:
        """`wanted` as it was made before from exactly these `programs` (by name) and `packages`."""
        found = self.store.recall("images", self._image_key(wanted, programs, packages))
        if found is None:
            return None
        return ImageFile(**{**found, "packages": tuple(Package(**each) for each in found["packages"])})

    def keep_image(self, wanted: Image, programs: Mapping[str, File], file: ImageFile) -> None:
        """Remember that making `wanted` gave `file`, whose archive is in the store."""
        self.store.record("images", self._image_key(wanted, programs, file.packages), asdict(file))

    def _image_key(self, wanted: Image, programs: Mapping[str, File], packages: Sequence[Package]) -> str:
        contents = {path: programs[name].sha256 for path, name in wanted.programs.items()}
        inputs = [image.FORMAT, asdict(wanted), contents, self.architecture, *(each.sha256 for each in packages)]
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
