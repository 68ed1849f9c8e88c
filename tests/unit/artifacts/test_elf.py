from __future__ import annotations

import io
import struct
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kharden.artifacts import elf
from kharden.errors import IntegrityError

LOADER = b"/lib64/ld-linux-x86-64.so.2\0"
STRINGS = b"\0libmnl.so.0\0libc.so.6\0"


def program(machine: int = 62, kind: int = 2, *, dynamic: bool = True) -> bytes:
    """A small but whole ELF file: headers, loader, names and the dynamic section, loaded at 0x400000."""
    base, start = 0x400000, 64 + 3 * 56
    names = start + len(LOADER)
    section = names + len(STRINGS)
    table = struct.pack("<8Q", 1, 1, 1, 13, 5, base + names, 0, 0)
    total = section + len(table)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", kind, machine, 1, base, 64, 0, 0, 64, 56, 3 if dynamic else 1, 0, 0, 0
    )
    rows = [(1, 0, base, total), (3, start, base + start, len(LOADER)), (2, section, base + section, len(table))]
    segments = b"".join(struct.pack("<IIQQQQQQ", k, 5, at, v, v, size, size, 1) for k, at, v, size in rows)
    return header + segments + LOADER + STRINGS + table


def describe(content: bytes) -> elf.Elf:
    return elf.describe(io.BytesIO(content), "thing")


def test_a_dynamic_program_names_its_loader_and_libraries() -> None:
    assert describe(program()) == elf.Elf("amd64", "/lib64/ld-linux-x86-64.so.2", ("libmnl.so.0", "libc.so.6"))


def test_a_static_program_names_none() -> None:
    assert describe(program(183, dynamic=False)) == elf.Elf("arm64", "", ())


@pytest.mark.parametrize(
    "content",
    [b"", b"#!/bin/sh\n", program(machine=3), program(kind=1), b"\x7fELF\x01\x01" + program()[6:], program()[:100]],
    ids=["empty", "script", "i386", "object", "32-bit", "truncated"],
)
def test_anything_else_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"^thing: not a program for 64-bit Linux"):
        describe(content)


@example(32, b"\xff" * 8, len(program()))  # headers at an offset that no file reaches
@given(st.integers(0, len(program()) - 1), st.binary(min_size=1, max_size=8), st.integers(0, len(program())))
def test_damage_gives_our_error_and_no_other(at: int, damage: bytes, length: int) -> None:
    content = program()
    with suppress(IntegrityError):
        describe((content[:at] + damage + content[at + len(damage) :])[:length])
