"""What is public of the authorities, in the clear beside the stores: who judges a cluster needs no identity for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.certificates.facts import parse_one
from kharden.errors import InputError, IntegrityError
from kharden.pki.tree import AUTHORITIES
from kharden.securefile import read_inside

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kharden.pki.contents import Trust

FILE = "authorities.pem"
_MARK = b"# "
_MAX_BYTES = 65536


def dump(trust: Trust) -> bytes:
    """Each authority's certificate below its name in the table."""
    return b"".join(_MARK + row.name.encode() + b"\n" + trust.authorities[row.name] for row in AUTHORITIES)


def fingerprints(folder: Path) -> Mapping[str, str]:
    """SHA-256 of each authority's certificate by its name in the table, as they are written in `folder`.

    Raises:
        MissingError: the file is not there.
        InputError: it isn't what was written.
    """
    content = read_inside(folder, FILE, limit=_MAX_BYTES)
    found = {}
    for part in content.split(_MARK)[1:]:
        name, _, pem = part.partition(b"\n")
        try:
            found[name.decode()] = parse_one(pem, what=f"{folder / FILE}: {name!a}").sha256
        except (IntegrityError, UnicodeDecodeError):
            break
    if found.keys() != {row.name for row in AUTHORITIES}:
        raise InputError(
            f"{folder / FILE}: does not hold the authorities", remedy="run `invoke render`, it is made anew"
        )
    return found
