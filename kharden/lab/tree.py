"""Base trees: a Debian that boots, made once for each recipe, checked before each use, and mended when damaged.

A tree lies in `<cache>/trees/<suite>-<key>/root`, beside `tree.json` with its digest. It is only ever read: each node
has an overlay above it. It is built under another name and renamed when whole, so a half-built one is never used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.artifacts.debian_mirror import KEYRING, debian_mirror
from kharden.errors import MissingError, RefusedError
from kharden.lab import recipe
from kharden.lab.locks import locked
from kharden.lab.places import trees_folder
from kharden.lab.programs import path_of, run_logged
from kharden.securefile import make_folder, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.lab.model import Progress, Suite

_RECORD = "tree.json"
_BUILDING = ".building-"
_KEY_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Tree:
    """A whole tree: its root folder."""

    root: Path


def ensure_tree(suite: Suite, log: Path, progress: Progress) -> Tree:
    """The tree of this suite and recipe: the cached one if it is whole, otherwise a new one.

    Raises:
        MissingError: no mirror, no keyring, or too little room.
        ProgramError: debootstrap failed.
        RefusedError: the tree is damaged while nodes run on it.
    """
    item = f"base tree {suite}"
    make_folder(trees_folder())
    # Whoever comes second waits here and then finds the tree of the first.
    with locked(trees_folder() / ".lock", wait=True):
        _remove_half_built()
        folder = trees_folder() / f"{suite}-{tree_key(suite)}"
        begun = time.monotonic()
        if is_whole(folder, used=_is_used(folder)):
            progress.start(item)
            progress.done(item, time.monotonic() - begun, cached=True)
            return Tree(folder / "root")
        if folder.exists():
            _refuse_if_used(folder)
            item = f"base tree {suite} (the cached one is damaged: made anew)"
        progress.start(item)
        _remove_older(suite, keep=folder)
        _build(suite, folder, log)
        progress.done(item, time.monotonic() - begun, cached=False)
        return Tree(folder / "root")


def tree_key(suite: Suite) -> str:
    """A digest of everything that makes the tree what it is."""
    parts = [suite, os.uname().machine, recipe.PACKAGES, recipe.FILES, recipe.LINKS, recipe.REMOVED]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:_KEY_LENGTH]


def is_whole(folder: Path, *, used: bool) -> bool:
    """Whether the tree is there and as it was when it was made.

    Contents are read as well unless nodes run on it already: reading 230 MB costs more than all other checks of `up`,
    and what those nodes have seen can't be mended below them.
    """
    root = folder / "root"
    try:
        recorded = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        digest, contents = recorded["digest"], recorded.get("contents")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(digest == tree_digest(root) and (used or contents == contents_digest(root)))


def contents_digest(root: Path) -> str:
    """SHA-256 over path and content of every file below `root`: a failing disk changes no time and no size."""
    digest = hashlib.sha256()
    for entry in _entries(root):
        if entry.is_file(follow_symlinks=False):
            with Path(entry.path).open("rb", buffering=0) as stream:
                own = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{own} {os.path.relpath(entry.path, root)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def tree_digest(root: Path) -> str:
    """SHA-256 over path, type, mode, owner, size, time of change and link target of everything below `root`."""
    digest = hashlib.sha256()
    for entry in _entries(root):
        status = entry.stat(follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        # A folder's size and time are the file system's business: entries that come or go show by themselves.
        size, changed = (0, 0) if kind == stat.S_IFDIR else (status.st_size, status.st_mtime_ns)
        target = str(Path(entry.path).readlink()) if kind == stat.S_IFLNK else ""
        path = os.path.relpath(entry.path, root)
        line = (path, oct(status.st_mode), status.st_uid, status.st_gid, size, changed, target)
        digest.update(repr(line).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _entries(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        for entry in sorted(found, key=lambda entry: entry.name):
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path)


def _build(suite: Suite, folder: Path, log: Path) -> None:
    temporary = Path(tempfile.mkdtemp(dir=trees_folder(), prefix=_BUILDING))
    temporary.chmod(0o755)
    root = temporary / "root"
    make_folder(root)
    _debootstrap(suite, root, log)
    _finish(root)
    record = {"digest": tree_digest(root), "contents": contents_digest(root), "suite": suite}
    write(temporary / _RECORD, json.dumps(record).encode())
    _remove_folder(folder)
    temporary.rename(folder)


def _debootstrap(suite: Suite, root: Path, log: Path) -> None:
    if not KEYRING.is_file():
        raise MissingError(f"{KEYRING}: missing", remedy="install Debian's package debian-archive-keyring")
    run_logged(
        [
            # If we die, so does everything below, and with its namespaces whatever it mounted: nothing is left behind.
            *(path_of("setpriv", "util-linux"), "--pdeathsig", "KILL"),
            *(path_of("unshare", "util-linux"), "--mount", "--pid", "--fork", "--kill-child=KILL"),
            *(path_of("debootstrap", "debootstrap"), "--variant=minbase", "--force-check-gpg", f"--keyring={KEYRING}"),
            f"--include={','.join(recipe.PACKAGES)}",
            *(suite, str(root), debian_mirror()),
        ],
        what=f"making the base tree {suite}",
        log=log,
    )


def _finish(root: Path) -> None:
    for path, (content, mode) in recipe.FILES.items():
        write(root / path, content.encode(), mode=mode)
    for path, target in recipe.LINKS.items():
        make_folder((root / path).parent)
        (root / path).unlink(missing_ok=True)
        (root / path).symlink_to(target)
    for pattern in recipe.REMOVED:
        for useless in root.glob(pattern):
            useless.unlink()


def _remove_half_built() -> None:
    for folder in trees_folder().glob(f"{_BUILDING}*"):
        _remove_folder(folder)


def _remove_older(suite: Suite, *, keep: Path) -> None:
    for folder in trees_folder().glob(f"{suite}-*"):
        if folder != keep and not _is_used(folder):
            _remove_folder(folder)


def _remove_folder(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _refuse_if_used(folder: Path) -> None:
    if _is_used(folder):
        raise RefusedError(
            f"{folder}: this base tree is damaged, and nodes run on it",
            remedy="take the labs down that use it, then try again",
        )


def _is_used(folder: Path) -> bool:
    """Whether an overlay of any node lies above this tree; nodes mount theirs in a mount namespace of their own."""
    marker = f"lowerdir={folder}/root,"
    for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            if marker in mounts.read_text(encoding="utf-8", errors="replace"):
                return True
        except OSError:
            continue
    return False
