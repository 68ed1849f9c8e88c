"""A node as the snapshot has it, in testinfra's words, so that one check can look at either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kharden.observe.facts import Unobserved

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kharden.observe.facts import Facts

# comm(5): the kernel keeps this much of a program's name.
COMM_LENGTH = 15


class File(Protocol):
    """testinfra.modules.file.File, as far as it is used here."""

    @property
    def exists(self) -> bool:
        """Whether it is there."""

    @property
    def mode(self) -> int:
        """Permission bits."""

    @property
    def user(self) -> str:
        """The owner's name."""

    @property
    def group(self) -> str:
        """The group's name."""


class Process(Protocol):
    """testinfra.modules.process, one process."""

    @property
    def args(self) -> str:
        """The whole command line."""

    @property
    def user(self) -> str:
        """The effective user's name."""


class Processes(Protocol):
    """testinfra.modules.process.Process."""

    def filter(self, *, comm: str) -> Iterable[Process]:
        """Processes of that name."""


class Service(Protocol):
    """testinfra.modules.service.Service."""

    @property
    def is_running(self) -> bool:
        """Whether it is active."""

    @property
    def is_enabled(self) -> bool:
        """Whether it is started at boot."""


class Host(Protocol):
    """testinfra.host.Host, as far as it is used here."""

    @property
    def process(self) -> Processes:
        """Its processes."""

    def file(self, path: str) -> File:
        """A file."""

    def sysctl(self, name: str) -> int | str:
        """A kernel setting."""

    def service(self, name: str) -> Service:
        """A unit."""


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A file as it was."""

    facts: Facts | None

    @property
    def exists(self) -> bool:
        """Whether it was there."""
        return self.facts is not None

    @property
    def mode(self) -> int:
        """Permission bits."""
        return self._facts.at("mode").number()

    @property
    def user(self) -> str:
        """The owner's name."""
        return self._facts.at("user").text()

    @property
    def group(self) -> str:
        """The group's name."""
        return self._facts.at("group").text()

    @property
    def _facts(self) -> Facts:
        if self.facts is None:
            raise Unobserved("no such file")
        return self.facts


@dataclass(frozen=True, slots=True)
class SnapshotProcess:
    """A process as it was."""

    facts: Facts

    @property
    def args(self) -> str:
        """The whole command line."""
        return " ".join(self.facts.at("argv").texts())

    @property
    def user(self) -> str:
        """The effective user's name."""
        return self.facts.at("user").text()


@dataclass(frozen=True, slots=True)
class SnapshotProcesses:
    """The processes as they were."""

    facts: Facts

    def filter(self, *, comm: str) -> list[SnapshotProcess]:
        """Processes of that name."""
        entries = self.facts.at("processes").entries()
        return [SnapshotProcess(entry) for entry in entries if entry.at("comm").text() == comm]


@dataclass(frozen=True, slots=True)
class SnapshotService:
    """A unit as it was."""

    facts: Facts

    @property
    def is_running(self) -> bool:
        """Whether it was active."""
        return self.facts.at("active").text() == "active"

    @property
    def is_enabled(self) -> bool:
        """Whether it was started at boot."""
        return self.facts.at("enabled").text() == "enabled"


@dataclass(frozen=True, slots=True)
class SnapshotHost:
    """A node as it was."""

    facts: Facts

    @property
    def process(self) -> SnapshotProcesses:
        """Its processes."""
        return SnapshotProcesses(self.facts)

    def file(self, path: str) -> SnapshotFile:
        """A file; one that no pattern of the request found was not there."""
        for found in self.facts.at("files").table().values():
            table = found.table()
            if path in table:
                return SnapshotFile(table[path])
        return SnapshotFile(None)

    def sysctl(self, name: str) -> int | str:
        """A kernel setting; a number where it is one."""
        value = self.facts.at("sysctls", name).text()
        return int(value) if value.removeprefix("-").isdecimal() else value

    def service(self, name: str) -> SnapshotService:
        """A unit."""
        return SnapshotService(self.facts.at("units", name))
