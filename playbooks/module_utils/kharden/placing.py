# SPDX-License-Identifier: Apache-2.0
"""Doing what a survey found: first every temporary file, then, one after the other, what takes effect.

All content is written and verified before the first path changes, so a wrong digest or a full disk changes nothing. A
check of a file (`sshd -t -f`) runs just before its own turn, because it may need what was placed before it.
"""

from __future__ import annotations

import io
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from . import files
from .errors import NodeError
from .survey import wanted_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .payload import Entry
    from .survey import Step

_CHECK_TIMEOUT = 60  # seconds
_CHECK_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def place(steps: Sequence[Step], *, staging: str, before_first: Callable[[], None], done: list[Step]) -> None:
    """Take all `steps`; `before_first` is called once, when all is prepared and nothing has taken effect yet.

    Args:
        steps: what to do, in this order.
        staging: the staging folder.
        before_first: as said above.
        done: takes each step that has taken effect.

    Raises:
        NodeError: a step failed. Those before it stay, those after it were not begun, no temporary file is left.
    """
    made: list[str] = []
    try:
        for step in steps:
            _prepare(step, staging, made)
        before_first()
        done += [step for step in steps if step.change.path in made]
        made.clear()  # from here on these folders are part of what was done
        for step in steps:
            _take(step)
            if step not in done:
                done.append(step)
    finally:
        sweep([step.change.path for step in steps])
        for path in reversed(made):
            with suppress(NodeError):
                files.remove_folder(path)


def _prepare(step: Step, staging: str, made: list[str]) -> None:
    entry = step.entry
    if entry is None or step.change.action == "attributes":
        return
    if entry.kind == "directory":
        files.make_folder(entry.path, _attributes(entry))
        made.append(entry.path)
    elif entry.kind == "symlink":
        files.prepare_symlink(entry.path, entry.target, _attributes(entry))
    else:
        _prepare_file(step, entry, staging)


def _prepare_file(step: Step, entry: Entry, staging: str) -> None:
    attributes = _attributes(entry)
    if entry.content is not None:
        files.prepare(entry.path, io.BytesIO(entry.content), attributes, sha256=entry.sha256)
        return
    try:
        with files.reading(step.source) as stream:
            files.prepare(entry.path, stream, attributes, sha256=entry.sha256)
    except files.DigestError:
        if step.source == f"{staging}/{entry.sha256}":
            files.remove(step.source)  # so that it is uploaded again
        raise


def _take(step: Step) -> None:
    path, action, entry = step.change.path, step.change.action, step.entry
    if entry is None:
        was = step.change.before
        (files.remove_folder if was and was.kind == "directory" else files.remove)(path)
    elif action == "attributes":
        files.set_attributes(path, _attributes(entry))
    elif entry.kind != "directory":
        _check(entry)
        files.commit(path)


def _check(entry: Entry) -> None:
    """Let the program that will read the file look at it before it replaces the old one."""
    if not entry.validate:
        return
    argv = [files.temporary(entry.path) if word == "%s" else word for word in entry.validate]
    try:
        done = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_CHECK_TIMEOUT,
            env=_CHECK_ENVIRONMENT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"{entry.path}: {argv[0]} can't look at it ({type(error).__name__}): install it") from None
    if done.returncode:
        said = " | ".join(done.stdout.decode(errors="replace").strip().splitlines()[-3:])
        shown = "(what it said is not shown: the file is sensitive)" if entry.sensitive else said
        raise NodeError(f"{entry.path}: {argv[0]} refuses it, so the old one stays: {shown}")


def _attributes(entry: Entry) -> files.Attributes:
    attributes = wanted_attributes(entry)
    if attributes is None:
        raise NodeError(f"{entry.path}: the user {entry.owner} or the group {entry.group} has just gone")
    return attributes


def sweep(paths: Iterable[str]) -> None:
    """Remove the temporary siblings of `paths` that a run that was cut off has left."""
    for path in paths:
        with suppress(NodeError):
            files.discard(path)
