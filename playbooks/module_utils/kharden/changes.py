# SPDX-License-Identifier: Apache-2.0
"""What differs between a node and its plan, as data and as text that a person may see."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from hashlib import sha256

from . import files

LONGEST_TEXT = 64 * 1024  # bytes; beyond it a diff helps nobody
HIDDEN = "(sensitive content, not shown)"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a change: its kind and attributes, and what is known of the content.

    `content` is None for what is absent, too long to show or not there yet (a plan, nothing staged). Where content
    isn't shown, `stamp` tells whether the file was touched between two looks, and nothing of what is in it.
    """

    kind: str
    owner: str
    group: str
    mode: str
    target: str = ""
    digest: str = ""
    content: bytes | None = field(default=None, repr=False)
    stamp: str = ""

    def as_result(self) -> dict[str, str]:
        """The attributes alone."""
        result = {"kind": self.kind, "owner": self.owner, "group": self.group, "mode": self.mode}
        more = {"target": self.target, "stamp": self.stamp}
        return result | {name: value for name, value in more.items() if value}


@dataclass(frozen=True, slots=True)
class Change:
    """One path that is, or would be, changed: `action` is create, update, attributes, replace or remove."""

    path: str
    action: str
    before: Side | None
    after: Side | None
    restarts: tuple[str, ...] = ()
    sensitive: bool = False

    def as_result(self) -> dict[str, object]:
        """What a module returns of it."""
        return {
            "path": self.path,
            "action": self.action,
            "before": self.before.as_result() if self.before else None,
            "after": self.after.as_result() if self.after else None,
            "diff": difference(self),
            "restarts": list(self.restarts),
        }


def side(path: str, found: files.Found, *, with_content: bool) -> Side:
    """Describe what was found at `path`; its content is read only where it may be shown."""
    attributes = found.attributes
    content, digest = None, ""
    if with_content and found.kind == "file":
        digest = files.digest(path)
        if found.size <= LONGEST_TEXT:
            with files.reading(path) as stream:
                content = stream.read()
    return Side(
        kind=found.kind,
        owner=files.user(attributes.uid),
        group=files.group(attributes.gid),
        mode=f"{attributes.mode:04o}",
        target=found.target,
        digest=digest,
        content=content,
        stamp="" if digest or found.kind != "file" else sha256(repr(found.times).encode()).hexdigest()[:16],
    )


def difference(change: Change) -> str:
    """A unified diff of texts, digests of anything else, and of sensitive content neither."""
    if change.action == "attributes" or not {"file", "symlink"} & {s.kind for s in (change.before, change.after) if s}:
        return ""
    if change.sensitive:
        return HIDDEN
    before, after = _text(change.before), _text(change.after)
    if before is None or after is None:
        return f"{_summary(change.before)} -> {_summary(change.after)}"
    old, new = (change.path if one else "/dev/null" for one in (change.before, change.after))
    return "\n".join(difflib.unified_diff(before, after, old, new, lineterm=""))


def _text(one: Side | None) -> list[str] | None:
    """The lines to compare: none where there is nothing; None where it can't be shown as text."""
    if one is None:
        return []
    if one.kind == "symlink":
        return [f"(symbolic link to {one.target!r})"]
    if one.content is None or len(one.content) > LONGEST_TEXT:
        return None
    try:
        lines = one.content.decode().split("\n")
    except UnicodeDecodeError:
        return None
    if lines[-1]:
        lines.append("\\ No newline at end of file")
    else:
        del lines[-1]
    # Control and direction characters could rewrite what a terminal shows (CWE-150, CVE-2021-42574).
    return lines if all(line.replace("\t", "").isprintable() for line in lines) else None


def _summary(one: Side | None) -> str:
    if one is None:
        return "(nothing)"
    if one.kind == "symlink":
        return f"(symbolic link to {one.target!r})"
    digest = one.digest or (sha256(one.content).hexdigest() if one.content is not None else "unknown")
    return f"sha256:{digest}"


def prepared(change: Change) -> str:
    """The text that `ansible --diff` shows: what happens to the path, then how its content differs."""
    sides = (f"{s.owner}:{s.group} {s.mode}" if s else "absent" for s in (change.before, change.after))
    title = f"{change.action} {change.path}: {' -> '.join(sides)}"
    return "\n".join(filter(None, (title, difference(change)))) + "\n"
