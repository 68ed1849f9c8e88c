"""The real programs of a cluster, as they were built for it; nothing is built here, since that takes many minutes."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from kharden.artifacts import lock
from kharden.artifacts.fetch import ARCHITECTURES
from kharden.artifacts.record import Record
from kharden.artifacts.store import Store, cache_root

VERSION = "1.36.3"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Programs:
    """Where programs lie, by their names."""

    paths: dict[str, Path]

    def __getitem__(self, name: str) -> str:
        return str(self.paths[name])

    def __contains__(self, name: str) -> bool:
        return name in self.paths


def recorded() -> Record:
    """What this user's cache knows of what it holds."""
    return Record(lock.load(), ARCHITECTURES[_MACHINES.get(platform.machine(), "amd64")], Store(cache_root()))


def found(version: str = VERSION) -> Programs:
    """What `invoke test` has put into a folder, else what was built for some cluster of this user.

    The folder has the programs of VERSION, and those of other versions in folders that are named after them.
    """
    folder = os.environ.get("KHARDEN_PROGRAMS")
    if folder:
        own = Path(folder) if version == VERSION else Path(folder) / version
        return Programs({path.name: path for path in own.glob("*") if path.is_file()})
    record = recorded()
    built = {program.name: record.program(program) for program in record.lock.kubernetes(version).programs}
    return Programs({name: record.store.path(file.sha256) for name, file in built.items() if file})
