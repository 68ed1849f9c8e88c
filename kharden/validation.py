"""The first step of every command: cluster.yaml is there, and good."""

from __future__ import annotations

from dataclasses import replace
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


def examined(loaded: Loaded) -> tuple[Loaded, bytes | None]:
    """With the network plugin's manifest, if there is one: what is rarely meant in it is among the warnings.

    Returns:
        cluster.yaml, and the manifest as it was examined.

    Raises:
        SpecError: it holds what kharden can't take; all of that is listed.
        InputError: it can't be read.
        IntegrityError: it isn't the one that cluster.yaml pins.
    """
    network = loaded.cluster.spec.network
    if network.manifest is None:
        return loaded, None
    from kharden.render import pinned, plugin_manifest  # noqa: PLC0415  # few clusters have one

    folder, name = loaded.path.parent, network.manifest.path
    content = pinned.read_network((name, network.manifest.sha256), folder) or b""
    opened = {(port.protocol, port.port) for port in network.ports}
    warnings = plugin_manifest.examined(str(folder / name), content, opened)
    return replace(loaded, warnings=(*loaded.warnings, *warnings)), content
