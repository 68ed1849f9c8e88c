"""Certificates of the build that the next render issues anew, by what is public of them: no store is opened for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.certificates.facts import parse
from kharden.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from kharden.apply.build import BuildFolder

_SUFFIX = ".crt"
_AUTHORITY = "cert sign"


def due(build: BuildFolder, nodes: Iterable[str], now: datetime) -> list[str]:
    """A line for each leaf in the last third of its life. Those inside kubeconfigs were issued beside them."""
    lines = []
    for node in nodes:
        for entry in build.files(node):
            if not entry["path"].endswith(_SUFFIX) or entry["kind"] != "file" or entry["sensitive"]:
                continue
            end = _end(build.public_content(node, entry), now)
            if end is not None:
                lines.append(f"{node}: {entry['path']} ends on {end:%Y-%m-%d}: `render` issues it anew, then apply")
    return lines


def _end(pem: bytes, now: datetime) -> datetime | None:
    """When a leaf that is due ends; None for one that isn't, and for authorities, which are rotated by a person."""
    try:
        facts = parse(pem, what="a leaf")
    except IntegrityError:
        return None  # preflight and the programs that read it say so
    leaves = [one for one in facts if _AUTHORITY not in one.key_usages]
    ends = [one.not_after for one in leaves if now >= one.not_after - (one.not_after - one.not_before) / 3]
    return min(ends, default=None)
