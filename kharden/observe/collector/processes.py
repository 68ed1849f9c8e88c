"""Processes and the sockets that they hold, from proc(5)."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kharden.observe.collector.files import digest, user_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_DELETED = " (deleted)"
_TABLES = {"tcp": "tcp", "tcp6": "tcp", "udp": "udp", "udp6": "udp"}
_READINGS = 3
# States in /proc/net (include/net/tcp_states.h): a TCP socket that listens, a UDP socket without a peer.
_WAITING = {"tcp": "0A", "udp": "07"}


def processes(programs: list[str]) -> list[dict[str, Any]]:
    """Every process whose executable has one of these names, with the digest of the very file that it runs."""
    digests: dict[tuple[int, int], str] = {}
    found = []
    for folder in _folders():
        program = _program(folder)
        if program in programs:
            try:
                found.append(_process(folder, program, digests))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
    return found


def _process(folder: Path, program: str, digests: dict[tuple[int, int], str]) -> dict[str, Any]:
    executable = folder / "exe"
    status = executable.stat()
    key = (status.st_dev, status.st_ino)
    if key not in digests:
        digests[key] = digest(str(executable))
    # The second field is the name in brackets and may hold blanks; the start time is field 22.
    fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return {
        "pid": int(folder.name),
        "program": program,
        "comm": (folder / "comm").read_text(encoding="utf-8", errors="replace").strip(),
        "argv": (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0"),
        "user": user_name(_effective_user(folder)),
        "start": int(fields[19]),
        "sha256": digests[key],
    }


def _effective_user(folder: Path) -> int:
    for line in (folder / "status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[2])
    raise ProcessLookupError


def sockets() -> list[dict[str, Any]]:
    """Every waiting TCP and UDP socket of this network namespace and the programs that hold it."""
    found: list[dict[str, Any]] = []
    # Sockets and holders are two readings: what opens or closes in between seems to have no holder, but not each time.
    for _ in range(_READINGS):
        found = _sockets()
        if all(entry["programs"] for entry in found):
            break
    return found


def _sockets() -> list[dict[str, Any]]:
    holders = _holders()
    return [
        {"protocol": protocol, "address": address, "port": port, "programs": sorted(holders.get(inode, ()))}
        for table, protocol in _TABLES.items()
        for address, port, inode in _waiting(table, protocol)
    ]


def _waiting(table: str, protocol: str) -> Iterator[tuple[str, int, str]]:
    path = Path("/proc/net", table)
    if not path.exists():
        return  # a kernel without IPv6
    for line in path.read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[3] == _WAITING[protocol]:
            address, _, port = fields[1].partition(":")
            yield decode_address(address), int(port, 16), fields[9]


def decode_address(text: str) -> str:
    """An address of /proc/net: 32-bit words in the machine's own byte order, in hex."""
    words = [int(text[index : index + 8], 16) for index in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)


def _holders() -> dict[str, set[str]]:
    """Inode of a socket → programs that have it open."""
    holders: dict[str, set[str]] = {}
    for folder in _folders():
        for target in _targets(folder):
            if target.startswith("socket:["):
                holders.setdefault(target[8:-1], set()).add(_program(folder))
    return holders


def _targets(folder: Path) -> Iterator[str]:
    """What a process has open; nothing where it ended or may not be looked at: its sockets are then told without it."""
    with suppress(OSError):
        for entry in (folder / "fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                yield str(entry.readlink())


def _folders() -> Iterator[Path]:
    return (folder for folder in Path("/proc").iterdir() if folder.name.isdecimal())


def _program(folder: Path) -> str:
    try:
        return (folder / "exe").readlink().name.removesuffix(_DELETED)
    except OSError:
        return ""  # a kernel thread, or it ended
