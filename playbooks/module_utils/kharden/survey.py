# SPDX-License-Identifier: Apache-2.0
"""What would have to change on this node: it only reads. A plan is this and no more; a run does what this says."""

from __future__ import annotations

import os.path
import posixpath
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from . import files
from .changes import LONGEST_TEXT, Change, Side, side
from .errors import NodeError
from .payload import Entry, parents
from .restarts import GONE, is_restart
from .units import UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .record import Placed

# Where else systemd looks, in this order (systemd.unit(5)): a file of ours there hides a package's of the same name.
_OTHER_UNITS = ("/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")


@dataclass(frozen=True, slots=True)
class Step:
    """One change and what makes it: the entry (None: removal) and, where it has no content, the file that has it."""

    change: Change
    entry: Entry | None = None
    source: str = ""


@dataclass(slots=True)
class Survey:
    """Every step, in the order to take them, and what is in the way."""

    steps: list[Step] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)  # path and sha256 of content that isn't here
    left: list[str] = field(default_factory=list)  # no longer listed, but changed by somebody else: not ours to remove
    held: list[str] = field(default_factory=list)  # differ, and wait for a later run

    def hold(self, paths: Sequence[str]) -> None:
        """Put off what concerns `paths`."""
        self.held = [step.change.path for step in self.steps if step.change.path in paths]
        self.steps = [step for step in self.steps if step.change.path not in self.held]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a survey goes by besides the entries: the record, the staging folder and how strict to be."""

    placed: Mapping[str, Placed]
    staging: str
    plan: bool  # in a plan nothing has been staged and accounts may not be there yet
    trust_times: bool = False


def survey(entries: Sequence[Entry], circumstances: Circumstances) -> Survey:
    """Compare `entries` with the node. Folders come first, then the rest in the payload's order, then removals."""
    result = Survey()
    wanted = [*_implied(entries, result), *entries]
    folders = sorted((entry for entry in wanted if entry.kind == "directory"), key=lambda entry: entry.path)
    ordered = [*folders, *(entry for entry in wanted if entry.kind != "directory")]
    holders: dict[str, str] = {}  # digest → a path that holds it now
    for entry in ordered:
        try:
            action = _action(entry, circumstances, holders)
            if action:
                result.steps.append(_step(entry, action, circumstances))
        except NodeError as error:
            result.problems.append(error.message)
    result.steps = [_sourced(step, holders, circumstances, result) for step in result.steps]
    for path in sorted(circumstances.placed.keys() - {entry.path for entry in entries}, reverse=True):
        _stale(path, entries, circumstances, result)
    return result


def _implied(entries: Sequence[Entry], result: Survey) -> list[Entry]:
    """Folders on the way to an entry that are missing and not listed."""
    mine, listed, implied = files.own(0o755), {entry.path for entry in entries}, {}
    for entry in entries:
        for above in parents(entry.path):
            try:
                if above not in listed and above not in implied and files.look(above) is None:
                    owner, group = files.user(mine.uid), files.group(mine.gid)
                    implied[above] = Entry(above, "directory", owner, group, mine.mode)
            except NodeError as error:
                if error.message not in result.problems:
                    result.problems.append(error.message)
    return list(implied.values())


def wanted_attributes(entry: Entry) -> files.Attributes | None:
    """The numbers behind an entry's owner, group and mode; None where this node has no such account."""
    uid, gid = files.uid(entry.owner), files.gid(entry.group)
    return None if uid is None or gid is None else files.Attributes(uid, gid, entry.mode)


def _action(entry: Entry, circumstances: Circumstances, holders: dict[str, str]) -> str:
    """What has to be done about `entry`; empty if nothing has."""
    found = files.look(entry.path)
    attributes = wanted_attributes(entry)
    if attributes is None and not circumstances.plan:
        raise NodeError(f"{entry.path}: this node has no user {entry.owner} or no group {entry.group}: make it first")
    if found is None:
        return "create"
    if found.kind != entry.kind:
        # A folder may hold what nobody else has, and a link in a folder's place leads to such a one (a data disk).
        if "directory" in (found.kind, entry.kind) or found.kind == "other":
            raise NodeError(f"{entry.path}: a {entry.kind} belongs here, but this is a {found.kind}: move it away")
        return "replace"
    if entry.kind == "symlink" and found.target != entry.target:
        return "update"
    if entry.kind == "file" and not _same_content(entry, found, circumstances):
        return "update"
    if entry.kind == "file":
        holders.setdefault(entry.sha256, entry.path)
    mode_matters = entry.kind != "symlink"
    if attributes and not mode_matters:
        attributes = replace(attributes, mode=found.attributes.mode)
    return "" if attributes == found.attributes else "attributes"


def _same_content(entry: Entry, found: files.Found, circumstances: Circumstances) -> bool:
    if entry.size is not None and entry.size != found.size:
        return False
    known = circumstances.placed.get(entry.path)
    if circumstances.trust_times and known and known.times == found.times:
        return known.sha256 == entry.sha256
    return files.digest(entry.path) == entry.sha256


def _step(entry: Entry, action: str, circumstances: Circumstances) -> Step:
    known = circumstances.placed.get(entry.path)
    sensitive = entry.sensitive or (known is not None and known.sensitive)
    found = files.look(entry.path)
    shown = action != "attributes" and not sensitive
    after = Side(
        entry.kind, entry.owner, entry.group, f"{entry.mode:04o}", entry.target, entry.sha256, content=entry.content
    )
    before = side(entry.path, found, with_content=shown) if found else None
    restarts = () if action == "attributes" else entry.restarts  # a mode put right changes nothing that was read
    return Step(Change(entry.path, action, before, after, restarts, sensitive), entry)


def _sourced(step: Step, holders: Mapping[str, str], circumstances: Circumstances, result: Survey) -> Step:
    """Find the content of a file whose entry has none: staged, or at a path that has the digest already."""
    entry = step.entry
    if entry is None or entry.kind != "file" or entry.content is not None or step.change.action == "attributes":
        return step
    source = f"{circumstances.staging}/{entry.sha256}"
    found = files.look(source)
    if found is None and entry.sha256 in holders:
        source = holders[entry.sha256]
        found = files.look(source)
    if found is None or found.kind != "file":
        if not circumstances.plan:
            result.problems.append(f"{entry.path}: its content {entry.sha256} is not staged: upload it first")
        result.missing.append({"path": entry.path, "sha256": entry.sha256})
        return step
    after = step.change.after
    if after and not step.change.sensitive and found.size <= LONGEST_TEXT:
        with files.reading(source) as stream:
            after = replace(after, content=stream.read())
    return Step(replace(step.change, after=after), entry, source)


def _stale(path: str, entries: Iterable[Entry], circumstances: Circumstances, result: Survey) -> None:
    """Decide about a path that kharden placed once and that is no longer listed."""
    placed = circumstances.placed[path]
    try:
        found = files.look(path)
        if found is None or any(path in parents(entry.path) for entry in entries):
            return
        if placed.kind == "directory":
            removable = found.kind == "directory" and placed.made and _will_be_empty(path, circumstances, result)
        else:
            removable = _still_ours(path, placed, found)
            result.left += [] if removable else [path]
        if removable:
            before = side(path, found, with_content=placed.kind == "file" and not placed.sensitive)
            leaving = _on_leaving(path, placed.restarts)
            result.steps.append(Step(Change(path, "remove", before, None, leaving, placed.sensitive)))
    except NodeError as error:  # a folder on the way is a link now: what lies behind it is not what we placed
        result.left.append(f"{path} ({error.message})")


def unit_of(path: str) -> str:
    """The unit that the file at `path` makes; empty where it makes none (a drop-in lies in a folder of its own)."""
    folder, name = posixpath.split(path)
    return name if folder == UNITS and is_restart(name) else ""


def _on_leaving(path: str, restarts: tuple[str, ...]) -> tuple[str, ...]:
    """What is to do once the file has left: a unit that has no other file can't restart then, only stop."""
    name = unit_of(path)
    if not name or any(os.path.lexists(f"{folder}/{name}") for folder in _OTHER_UNITS):
        return restarts
    return (*(one for one in restarts if one != name), GONE + name)


def _still_ours(path: str, placed: Placed, found: files.Found) -> bool:
    if found.kind != placed.kind:
        return False
    if placed.kind == "symlink":
        return found.target == placed.target
    return files.digest(path) in {placed.sha256, placed.previous}


def _will_be_empty(path: str, circumstances: Circumstances, result: Survey) -> bool:
    """True if all that lies in the folder is removed too, or is a temporary file of a run that was cut off."""
    removed = {step.change.path for step in result.steps if step.change.action == "remove"}
    swept = map(files.temporary, circumstances.placed)
    return {f"{path}/{name}" for name in files.names(path)} <= removed.union(swept)
