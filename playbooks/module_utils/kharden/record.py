# SPDX-License-Identifier: Apache-2.0
"""What kharden has placed on this node, so that what is no longer listed can be removed.

The record holds no content and no time, so a run that changes nothing doesn't rewrite it. Before a run's first write it
is extended by what the run is about to place: a path lost to a power cut is still known afterwards.
"""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from . import files
from .errors import NodeError
from .payload import Entry, parents, path_problem
from .restarts import is_restart, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RECORD = "/var/lib/kharden/placed.json"
LARGE = 10_000_000  # bytes; from here on the times are worth remembering (see the option trust_times)


@dataclass(frozen=True, slots=True)
class Placed:
    """One path as kharden left it; `previous` is the digest it had before a run that may have been cut off.

    `made` tells that kharden made the folder, so it may be removed; `implied` that nothing listed it.
    """

    kind: str
    owner: str
    group: str
    mode: str
    sha256: str = ""
    previous: str = ""
    target: str = ""
    sensitive: bool = False
    restarts: tuple[str, ...] = ()
    made: bool = False
    implied: bool = False
    times: tuple[int, ...] = ()


def load(path: str) -> dict[str, Placed]:
    """The record at `path`; empty where there is none yet.

    Raises:
        NodeError: the file is damaged.
    """
    listed = read_json(path).get("placed", {})
    if not isinstance(listed, dict):
        raise NodeError(f"{path}: this record is damaged: move it away (what it listed then stays on the node)")
    return {name: _placed(path, name, item) for name, item in listed.items()}


def store(path: str, placed: Mapping[str, Placed]) -> None:
    """Write the record, unless it says so already."""
    if load(path) != placed:
        write_json(path, {"schema": 1, "placed": {name: _compact(item) for name, item in placed.items()}})


def entry_as_placed(entry: Entry) -> Placed:
    """What the record will say of `entry` once it is in place."""
    return Placed(
        kind=entry.kind,
        owner=entry.owner,
        group=entry.group,
        mode=f"{entry.mode:04o}",
        sha256=entry.sha256,
        target=entry.target,
        sensitive=entry.sensitive,
        restarts=entry.restarts,
    )


def expected(entries: Iterable[Entry], before: Mapping[str, Placed], made: Iterable[str]) -> dict[str, Placed]:
    """The record once `entries` are in place and the folders `made` exist."""
    made = set(made)
    result: dict[str, Placed] = {}
    for entry in entries:
        for above in parents(entry.path):
            old = before.get(above)
            if above not in result and (above in made or (old and old.made)):
                result[above] = replace(old or _folder(), made=True, implied=True)
    for entry in entries:
        old = before.get(entry.path)
        mine = entry.kind == "directory" and (entry.path in made or (old is not None and old.made))
        times = old.times if old and old.sha256 == entry.sha256 else ()
        result[entry.path] = replace(entry_as_placed(entry), made=mine, times=times)
    return result


def in_flight(after: Mapping[str, Placed], before: Mapping[str, Placed]) -> dict[str, Placed]:
    """The record while a run goes on: everything from before and everything to come."""
    result = dict(before)
    for path, item in after.items():
        old = before.get(path)
        result[path] = replace(item, previous=old.sha256 if old and old.sha256 != item.sha256 else "")
    return result


def remember_times(placed: Mapping[str, Placed]) -> dict[str, Placed]:
    """Add inode, size and times of large files, by which `trust_times` knows them again."""
    result = {}
    for path, item in placed.items():
        found = files.look(path) if item.kind == "file" else None
        large = found and found.kind == "file" and found.size >= LARGE
        result[path] = replace(item, times=found.times if found and large else ())
    return result


def _folder() -> Placed:
    mine = files.own(0o755)
    return Placed("directory", files.user(mine.uid), files.group(mine.gid), "0755")


def _compact(item: Placed) -> dict[str, object]:
    return {name: value for name, value in asdict(item).items() if value not in ("", (), False)}


def _placed(record: str, path: str, item: object) -> Placed:
    """Read one entry back, as strictly as a payload: the record decides what is removed."""
    forms = {field.name: field.default for field in fields(Placed)}
    required = {name for name, default in forms.items() if default is MISSING}
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in _items(item)}
    complete = required <= values.keys() <= forms.keys() and not path_problem(path)
    if not complete or not all(_fits(value, forms[name]) for name, value in values.items()):
        raise NodeError(f"{record}: its entry for {path!r} is damaged: move the file away, then run it again")
    return Placed(**values)


def _items(item: object) -> Iterable[tuple[str, Any]]:
    return item.items() if isinstance(item, dict) else ()


def _fits(value: object, default: object) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(isinstance(one, int) or is_restart(one) for one in value)
    return isinstance(value, bool if isinstance(default, bool) else str)
