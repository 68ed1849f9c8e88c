"""Files: owners, modes, absence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.observe.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import FileAttributes, FilesAbsent, FolderContents
    from kharden.observe.examine.view import View


def attributes(check: FileAttributes, view: View) -> Iterator[Finding]:
    """Owner, group and permission bits of each file."""
    owned = f"{check.owner}:{check.group}"
    for pattern in check.patterns:
        paths = sorted(view.facts.at("files", pattern).table()) if "*" in pattern else [pattern]
        if not paths:
            yield Finding(f"{pattern}: {check.mode:o} or tighter, {owned}", "nothing there", ok=False)
        for path in paths:
            expected = f"{path}: {check.mode:o} or tighter, {owned}"
            file = view.host.file(path)
            if file.exists:
                mode, user, group = file.mode, file.user, file.group
                tight = (mode & ~check.mode) == 0 and (user, group) == (check.owner, check.group)
                yield Finding(expected, f"{mode:o}, {user}:{group}", tight)
            else:
                yield Finding(expected, "missing", ok=False)


def absent(check: FilesAbsent, view: View) -> Iterator[Finding]:
    """Nothing matches."""
    for pattern in check.patterns:
        found = sorted(view.facts.at("files", pattern).table())
        yield Finding(f"no {pattern}", ", ".join(found) or "none", not found)


def contents(check: FolderContents, view: View) -> Iterator[Finding]:
    """Exactly these names."""
    found = view.facts.at("folders", check.path).texts()
    expected = ", ".join(sorted(check.names)) or "nothing"
    yield Finding(
        f"{check.path}: {expected}", ", ".join(sorted(found)) or "nothing", sorted(found) == sorted(check.names)
    )
