# SPDX-License-Identifier: Apache-2.0
"""Addresses of this node and who listens where, from proc(5)."""

from __future__ import annotations

import ipaddress
import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .processes import PROC, Process, process

if TYPE_CHECKING:
    from pathlib import Path

_LISTEN, _UNCONNECTED = "0A", "07"  # include/net/tcp_states.h; a bound UDP socket shows the latter
_ADVERTISED = 0x50000  # include/uapi/linux/ipv6_route.h: RTF_DEFAULT and RTF_ADDRCONF
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that waits for others: `protocol` is tcp or udp."""

    protocol: str
    address: str
    port: int
    inode: int


def parse(protocol: str, text: str) -> list[Listener]:
    """The waiting sockets in a text of /proc/net/tcp, tcp6, udp or udp6."""
    result = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields[3] != (_LISTEN if protocol == "tcp" else _UNCONNECTED):
            continue
        address, _, port = fields[1].rpartition(":")
        result.append(Listener(protocol, _address(address), int(port, 16), int(fields[9])))
    return result


def _address(text: str) -> str:
    """An address as the kernel prints it: words of 32 bits, in hexadecimal, in the order of this machine's bytes."""
    words = struct.unpack(f">{len(text) // 8}I", bytes.fromhex(text))
    return str(ipaddress.ip_address(struct.pack(f"={len(words)}I", *words)))


def listeners(proc: Path = PROC) -> list[Listener]:
    """Every waiting TCP and UDP socket of this network namespace."""
    result: list[Listener] = []
    for protocol in ("tcp", "udp"):
        for name in (protocol, f"{protocol}6"):
            table = proc / "net" / name
            if table.exists():  # a kernel without IPv6 has no …6
                result += parse(protocol, table.read_text())
    return result


def holders(inodes: set[int], proc: Path = PROC) -> dict[int, Process]:
    """Which process holds each of the sockets `inodes`; those of others are only seen by root."""
    result: dict[int, Process] = {}
    for entry in proc.iterdir():
        if not entry.name.isdecimal():
            continue
        held = inodes & _sockets(entry)
        found = process(int(entry.name), proc) if held else None
        result.update(dict.fromkeys(held, found) if found else {})
    return result


def _sockets(folder: Path) -> set[int]:
    result: set[int] = set()
    try:
        descriptors = list((folder / "fd").iterdir())
    except OSError:  # it has ended, or isn't ours
        return result
    for descriptor in descriptors:
        with suppress(OSError):  # a busy process closes one while it is looked at, and has its others still
            if match := _SOCKET.fullmatch(str(descriptor.readlink())):
                result.add(int(match[1]))
    return result


def addresses(proc: Path = PROC) -> set[str]:
    """Every address that is on an interface of this node."""
    table = proc / "net/if_inet6"
    return parse_fib_trie((proc / "net/fib_trie").read_text()) | parse_if_inet6(
        table.read_text() if table.exists() else ""
    )


def parse_fib_trie(text: str) -> set[str]:
    """The local IPv4 addresses in a text of /proc/net/fib_trie: leaves that are followed by "/32 host LOCAL"."""
    return set(re.findall(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL", text))


def advertised(proc: Path = PROC) -> list[str]:
    """Interfaces with a default route that the kernel took from a router, as long as it doesn't forward itself."""
    table = proc / "net/ipv6_route"
    found = parse_ipv6_route(table.read_text() if table.exists() else "")
    settings = proc / "sys/net/ipv6/conf"
    return [interface for interface in found if (settings / interface / "accept_ra").read_text().strip() == "1"]


def parse_ipv6_route(text: str) -> list[str]:
    """The interfaces of default routes in a text of /proc/net/ipv6_route that routers have told the kernel of."""
    rows = (line.split() for line in text.splitlines())
    found = (
        row[9]
        for row in rows
        if set(row[0]) == {"0"} and row[1] == "00" and int(row[8], 16) & _ADVERTISED == _ADVERTISED
    )
    return list(dict.fromkeys(found))


def parse_if_inet6(text: str) -> set[str]:
    """The IPv6 addresses in a text of /proc/net/if_inet6."""
    return {str(ipaddress.ip_address(bytes.fromhex(line.split()[0]))) for line in text.splitlines() if line.strip()}
