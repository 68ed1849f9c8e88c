"""The first step of every command: cluster.yaml is there, and good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.errors import InputError
from kharden.spec.load import load

if TYPE_CHECKING:
    from datetime import datetime

    from kharden.place import Place
    from kharden.spec.load import Loaded


def validate(place: Place, now: datetime | None = None, *, pinned: bool = True) -> Loaded:
    """Check cluster.yaml alone; with `now` also that no waiver that it needs has expired.

    What is rendered has been judged with its time. Applying that, and looking at it, needs no time: an expired waiver
    must neither keep a cluster from being repaired nor hide what `verify` finds. Without `pinned`, host keys may still
    be missing.

    Raises:
        SpecError: it has problems; all of them are listed.
    """
    if not place.spec.parent.is_dir():
        known = sorted(path.parent.name for path in place.root.glob("inventories/*/cluster.yaml"))
        raise InputError(
            f"inventories/{place.cluster}: there is no such cluster", remedy=f"known ones: {', '.join(known) or 'none'}"
        )
    return load(place.spec, now, pinned=pinned)
