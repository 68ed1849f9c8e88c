# SPDX-License-Identifier: Apache-2.0
"""What must restart, and the list on the node of what still has to.

A run that is cut off between a write and the restart must not lose the restart, since the next run finds the file as it
should be. So what will have to restart is written down before the first write, and struck off after it was seen to have
restarted.
"""

from __future__ import annotations

import io
import json
import posixpath
import re
from hashlib import sha256
from typing import TYPE_CHECKING

from . import files
from .errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterable

PENDING = "/var/lib/kharden/pending.json"
# Beside it: for how long what restarted was away.
AWAY = "restarts.json"
STATIC_POD = "static-pod/"
# Before the name of a unit whose own file is no longer listed: it is to stop, and not to start at boot any more.
GONE = "gone/"
_UNIT = r"[A-Za-z0-9:_.@\\-]{1,200}\.(?:service|socket|timer|path|mount|target|slice)"  # systemd.unit(5)
_POD = r"(?:static-pod|daemonset)/[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_FORM = re.compile(rf"daemon-reload|sysctl|modules|{_POD}|(?:{GONE})?{_UNIT}")
_SCHEMA = 1


def is_restart(text: object) -> bool:
    """True for a unit's name, gone/UNIT, daemon-reload, sysctl, modules, static-pod/NAME and daemonset/NAME."""
    return isinstance(text, str) and not text.startswith("-") and _FORM.fullmatch(text) is not None


def write_json(path: str, document: object) -> None:
    """Write `document` to `path` whole or not at all, readable by its owner only."""
    content = json.dumps(document, indent=1, sort_keys=True).encode()
    files.prepare(path, io.BytesIO(content), files.own(0o600), sha256=sha256(content).hexdigest())
    files.commit(path)


def read_json(path: str) -> dict[str, object]:
    """Read what `write_json` wrote to `path`; empty where there is nothing.

    Raises:
        NodeError: it is something else.
    """
    if files.look(path) is None:
        return {}
    with files.reading(path) as stream:
        try:
            document = json.load(stream)
        except ValueError:
            document = None
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        raise NodeError(f"{path}: kharden didn't write this, or a later version did: look at it, then move it away")
    return document


def pending(path: str = PENDING) -> frozenset[str]:
    """What still has to restart on this node."""
    listed = read_json(path).get("restarts", [])
    return frozenset(filter(is_restart, listed)) if isinstance(listed, list) else frozenset()


def add(path: str, restarts: Iterable[str]) -> None:
    """Write down that `restarts` are to come; the file isn't touched where it says so already."""
    known = pending(path)
    if not known.issuperset(restarts):
        write_json(path, {"schema": _SCHEMA, "restarts": sorted(known.union(restarts))})


def strike(path: str, restarts: Iterable[str]) -> None:
    """Strike off what has restarted."""
    known = pending(path)
    if not known.isdisjoint(restarts):
        write_json(path, {"schema": _SCHEMA, "restarts": sorted(known.difference(restarts))})


def away(pending_path: str, name: str) -> float | None:
    """For how many seconds `name` was away when it restarted last on this node; None where nobody has seen that."""
    listed = read_json(_beside(pending_path)).get("away", {})
    seconds = listed.get(name) if isinstance(listed, dict) else None
    return float(seconds) if isinstance(seconds, int | float) else None


def remember(pending_path: str, name: str, seconds: float) -> None:
    """Write down for how long `name` was away, for the next plan."""
    path = _beside(pending_path)
    listed = read_json(path).get("away", {})
    known = listed if isinstance(listed, dict) else {}
    write_json(path, {"schema": _SCHEMA, "away": known | {name: seconds}})


def _beside(pending_path: str) -> str:
    return posixpath.join(posixpath.dirname(pending_path), AWAY)
