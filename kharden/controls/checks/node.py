"""The kinds of checks of a machine: files, processes, sockets, kernel settings, units.

Paths are those of a kubeadm node; patterns are shell patterns, `**` crosses folders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from kharden.controls.model import FromPlan

# Where a program listens: every address or the node's own ("node"), or only 127.0.0.1 and ::1 ("loopback").
Scope = Literal["node", "loopback"]


@dataclass(frozen=True, slots=True)
class FileAttributes:
    """Every file of the patterns belongs to owner and group, and has no permission bit outside `mode`.

    Each pattern must match at least one file.
    """

    patterns: tuple[str, ...]
    mode: int
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True, slots=True)
class FilesAbsent:
    """Nothing matches the patterns."""

    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FolderContents:
    """A folder holds exactly these entries."""

    path: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArgumentEquals:
    """Each process of the program has the flag once, with this value."""

    program: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ArgumentAbsent:
    """No process of the program has any of these flags."""

    program: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArgumentContains:
    """The flag's comma-separated value has all of these items, and those that the cluster's own specification names."""

    program: str
    name: str
    items: tuple[str, ...]
    planned: FromPlan | None = None


@dataclass(frozen=True, slots=True)
class ArgumentLacks:
    """The flag is absent, or its comma-separated value has none of these items."""

    program: str
    name: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArgumentWithin:
    """The flag's comma-separated value is not empty and has no item but these.

    Attributes:
        presets: the presets that ask for it; none named means all.
    """

    program: str
    name: str
    items: tuple[str, ...]
    presets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ArgumentAtLeast:
    """The flag's number is at least `least`, and at least what the cluster's own specification says."""

    program: str
    name: str
    least: int
    planned: FromPlan


@dataclass(frozen=True, slots=True)
class ProcessOwner:
    """Every process of the program runs as this user."""

    program: str
    user: str


@dataclass(frozen=True, slots=True)
class RunningPrograms:
    """Each process of these programs is the file that the lock of artifacts names.

    Attributes:
        required: each of them must run on the node; else it may.
    """

    programs: tuple[str, ...]
    required: bool = True


@dataclass(frozen=True, slots=True)
class InstalledPrograms:
    """Each of these files is the one that the lock of artifacts names for the program of that name."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PackagedPrograms:
    """Each of these files is what its Debian package brought, and each process of that name runs that very file."""

    paths: tuple[str, ...]

    @property
    def programs(self) -> tuple[str, ...]:
        """Names of their processes."""
        return tuple(path.rpartition("/")[2] for path in self.paths)


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that is held by one of these programs.

    Attributes:
        port: None is any port that the program was given by the kernel.
        needed: whether it must be there.
    """

    programs: tuple[str, ...]
    port: int | FromPlan | None
    scope: Scope
    protocol: Literal["tcp", "udp"] = "tcp"
    needed: bool = True


@dataclass(frozen=True, slots=True)
class ListeningSockets:
    """In this scope exactly these sockets listen, each held by its program, and what `spec.network.ports` names."""

    scope: Scope
    listeners: tuple[Listener, ...]


@dataclass(frozen=True, slots=True)
class SysctlValue:
    """A kernel setting.

    Attributes:
        family: it matters only where pods have addresses of this family; 0: everywhere.
    """

    name: str
    value: str
    family: Literal[0, 4, 6] = 0


@dataclass(frozen=True, slots=True)
class InterfaceSetting:
    """A kernel setting that each network interface has, "default" of new ones and "all" among them.

    Attributes:
        name: with `*` where the interface stands.
        required: there is none where the kernel lacks the family, which is no fault unless it is required.
    """

    name: str
    value: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class UnitState:
    """A systemd unit runs now and after the next boot."""

    name: str


@dataclass(frozen=True, slots=True)
class JournalSetting:
    """A setting of journald, by its file and all drop-ins."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class JournalKept:
    """The system's journal lies on the disk."""


@dataclass(frozen=True, slots=True)
class JournalBounded:
    """All journals on the disk have no more than so many MiB; those that are written to may go a little beyond."""

    most: int


@dataclass(frozen=True, slots=True)
class FirewallRules:
    """Our table of nftables has the chains and rules that follow from the plan, and no others."""


@dataclass(frozen=True, slots=True)
class ServiceTables:
    """The service proxy has its table of nftables in each family of services."""
