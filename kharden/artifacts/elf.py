"""What an ELF file says of itself: machine, loader and the libraries that it asks for.

Only 64-bit little-endian files for Linux are of use here (System V ABI, chapters 4 and 5); a file is data, so every
offset in it is checked by the read that follows it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kharden.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

MACHINES = {62: "amd64", 183: "arm64"}  # e_machine: EM_X86_64, EM_AARCH64
PROGRAM_TYPES = {2, 3}  # e_type: ET_EXEC, ET_DYN
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5
_LONGEST = 1 << 20  # bytes: a dynamic section or string beyond this is not a real program's


@dataclass(frozen=True, slots=True)
class Elf:
    """One program or library.

    Attributes:
        architecture: "amd64" or "arm64".
        interpreter: The dynamic loader's path, "" for a static program or a library.
        needed: The libraries (DT_NEEDED), in their order.
    """

    architecture: str
    interpreter: str
    needed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def describe(stream: BinaryIO, name: str) -> Elf:
    """Read the headers of `stream`; `name` is for the message.

    Raises:
        IntegrityError: it is not a whole 64-bit little-endian program or library for amd64 or arm64.
    """
    try:
        return _describe(stream)
    except (struct.error, OSError, OverflowError, ValueError) as error:
        raise IntegrityError(f"{name}: not a program for 64-bit Linux ({error})") from None


def _describe(stream: BinaryIO) -> Elf:
    header = _read(stream, 0, 64)
    if header[:6] != b"\x7fELF\x02\x01":
        raise ValueError("no such header")
    kind, machine = struct.unpack_from("<HH", header, 16)
    if kind not in PROGRAM_TYPES or machine not in MACHINES:
        raise ValueError(f"type {kind}, machine {machine}")
    segments = _segments(stream, header)
    interpreter = next((_read(stream, s.offset, s.size) for s in segments if s.kind == PT_INTERP), b"")
    return Elf(MACHINES[machine], interpreter.rstrip(b"\0").decode(), tuple(_needed(stream, segments)))


def _segments(stream: BinaryIO, header: bytes) -> tuple[_Segment, ...]:
    (start,) = struct.unpack_from("<Q", header, 32)
    size, count = struct.unpack_from("<HH", header, 54)
    table = _read(stream, start, size * count)
    rows = (struct.unpack_from("<IIQQQQ", table, size * number) for number in range(count))
    return tuple(_Segment(kind, offset, address, length) for kind, _, offset, address, _, length in rows)


def _needed(stream: BinaryIO, segments: Sequence[_Segment]) -> Iterator[str]:
    dynamic = next((segment for segment in segments if segment.kind == PT_DYNAMIC), None)
    if dynamic is None:
        return
    section = _read(stream, dynamic.offset, dynamic.size)
    pairs = [struct.unpack_from("<QQ", section, at) for at in range(0, len(section) - 15, 16)]
    tags = pairs[: next((number for number, (tag, _) in enumerate(pairs) if tag == DT_NULL), len(pairs))]
    table = next((value for tag, value in tags if tag == DT_STRTAB), None)
    for tag, value in tags:
        if tag == DT_NEEDED and table is not None:
            yield _string(stream, _offset(segments, table) + value)


def _offset(segments: Sequence[_Segment], address: int) -> int:
    for segment in segments:
        if segment.kind == PT_LOAD and segment.address <= address < segment.address + segment.size:
            return segment.offset + address - segment.address
    raise ValueError(f"address {address:#x} lies in no segment")


def _string(stream: BinaryIO, offset: int) -> str:
    stream.seek(offset)
    text, end, _ = stream.read(4096).partition(b"\0")
    if not end:
        raise ValueError("an endless name")
    return text.decode()


def _read(stream: BinaryIO, offset: int, size: int) -> bytes:
    if size > _LONGEST:
        raise ValueError("a header of more than a mebibyte")
    stream.seek(offset)
    found = stream.read(size)
    if len(found) != size:
        raise ValueError("it is cut short")
    return found
