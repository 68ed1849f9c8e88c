"""Compiling a program once more in a clean folder: the same bytes, or our build isn't what the lock says of it.

Go would take what it compiled before from its cache and prove nothing, so the rebuild has a cache of its own, empty at
first. The modules' sources are shared: go.sum says what they must be.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.artifacts import lock, source, toolchain
from kharden.artifacts.store import digest_of
from kharden.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kharden.artifacts.forms import Architecture
    from kharden.artifacts.lock import Release
    from kharden.artifacts.model import Progress
    from kharden.artifacts.store import Store


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A program that gave the bytes that the lock names."""

    name: str
    version: str
    architecture: str
    sha256: str
    seconds: float


def rebuild(
    release: Release, names: Sequence[str], architecture: Architecture, *, store: Store, progress: Progress
) -> tuple[Rebuilt, ...]:
    """Compile `names` of `release` again and compare.

    Raises:
        InputError: there is no such program, or the lock has no digest of our build of it.
        IntegrityError: other bytes came out.
        BuildError, DownloadError, MissingError: it can't be compiled here.
    """
    programs = {program.name: program for program in release.programs}
    for name in names:
        if name not in programs:
            raise InputError(f"{name!r}: no program of a cluster", remedy=f"name one of {', '.join(programs)}")
        if architecture not in programs[name].built:
            raise InputError(f"{name}: the lock has no digest of our build for {architecture}", remedy="name another")
    own = lock.load()
    done = []
    # Not in the cache's own work folder: nothing goes into the cache, so others need not wait.
    with tempfile.TemporaryDirectory(prefix="rebuild-", dir=store.root) as name:
        work = Path(name)
        go = toolchain.find(own.toolchain, store, work)
        clean = replace(go, environment={**go.environment, "GOCACHE": str(work / "gocache")})
        for program in (programs[each] for each in dict.fromkeys(names)):
            item, began = f"{program} once more", time.monotonic()
            progress.start(item)
            folder = work / program.name
            folder.mkdir()
            recipe = source.Recipe(program, own.module(program), architecture, own.toolchain.version)
            log = store.logs / f"{program.name}-{program.version}-{architecture}-rebuild.log"
            found = digest_of(source.build(recipe, go=clean, work=folder, log=log))
            if found != program.built[architecture]:
                raise IntegrityError(
                    f"{program}: built again it has sha256 {found}, the lock says {program.built[architecture]}",
                    remedy=f"see {log}, and don't use this build",
                )
            seconds = time.monotonic() - began
            progress.done(item, seconds, cached=False)
            done.append(Rebuilt(program.name, program.version, architecture, found, seconds))
    return tuple(done)
