"""cluster.yaml → `Cluster`: every problem at once, each with its place and a remedy, and nothing changed by any."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from kharden.errors import InputError
from kharden.spec import floors, rules, schema
from kharden.spec.document import Document, unread
from kharden.spec.judgement import judged
from kharden.spec.model import Cluster
from kharden.spec.problems import Finding, Place, Problem, SpecError, dotted, end
from kharden.spec.reader import read
from kharden.spec.warnings import warned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

MAX_BYTES = 1 << 20

# What YAML has no room for, and what an editor may show differently from what we read: line ends other than \n and
# \r\n, and characters that turn the direction of text (CVE-2021-42574).
_HIDDEN = re.compile(
    r"[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\r(?!\n)|[\u2028-\u202e\u2066-\u2069\ufeff]"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid cluster.yaml.

    Attributes:
        cluster: what it says.
        digest: SHA-256 of the file's bytes, in lower-case hexadecimal digits.
        path: the file, as it was named.
        warnings: what is allowed and rarely meant.
    """

    cluster: Cluster
    digest: str
    path: Path
    warnings: tuple[Problem, ...] = ()


def load(path: Path, now: datetime | None = None, *, pinned: bool = True) -> Loaded:
    """Read and judge the cluster.yaml at `path`.

    Args:
        path: the file; the folder that it lies in has the cluster's name.
        now: where it is given, waivers that have expired by then count no more.
        pinned: host keys must be there; otherwise somebody is about to look at them.

    Raises:
        SpecError: it isn't a valid description of a cluster; everything that is wrong is in it.
        InputError: there is no such file, or it can't be read, or it is no file at all.
    """
    content = _bytes(path)
    text = _text(content)
    document = read(text) if isinstance(text, str) else unread(text)
    outcome = judged(document)
    if isinstance(outcome, Cluster):
        findings = document.findings or tuple(_broken(outcome, path, now, pinned=pinned))
        if not findings:
            warnings = _problems(path, document, warned(outcome))
            return Loaded(outcome, hashlib.sha256(content).hexdigest(), path, tuple(warnings))
    else:
        findings = (*_within_the_known(document.findings, outcome), *outcome)
    raise SpecError(str(path), _problems(path, document, findings))


def _broken(cluster: Cluster, path: Path, now: datetime | None, *, pinned: bool) -> Iterator[Finding]:
    yield from rules.broken(cluster, path.absolute().parent.name, pinned=pinned)
    if now is not None:
        yield from floors.expired(cluster, now.astimezone(UTC).date())


def _bytes(path: Path) -> bytes:
    """The content, one byte more than allowed at most."""
    try:
        # O_NONBLOCK: a pipe without a writer would keep us waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError:
        raise InputError("the path of cluster.yaml has a NUL character in it", remedy="name another") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError(f"{path}: this is not a file", remedy="name a folder of inventories/ that has one")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(descriptor)


def _unreadable(path: Path, error: OSError) -> InputError:
    if error.errno == errno.ENOENT:
        return InputError(f"{path}: there is no such file", remedy="name a cluster that has one, or write it")
    if error.errno == errno.ELOOP:
        return InputError(f"{path}: symbolic links are not followed", remedy="put the file itself there")
    return InputError(f"{path}: can't read this file ({error.strerror})", remedy="mend its owner, mode or folder")


def _text(content: bytes) -> str | Finding:
    if len(content) > MAX_BYTES:
        return Finding((), f"this file is larger than {MAX_BYTES >> 20} MiB", "describe fewer nodes in it", Place(1, 1))
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        return Finding((), "this file isn't UTF-8", "save it as UTF-8", end(before))
    hidden = _HIDDEN.search(text)
    if not hidden:
        return text
    place = end(text[: hidden.start()])
    if hidden[0] == "\ufeff" and hidden.start() == 0:
        return Finding((), "this file begins with a byte order mark", "save it as UTF-8 without one", place)
    name = "a NUL" if hidden[0] == "\0" else f"U+{ord(hidden[0]):04X}"
    return Finding((), f"{name} is here, which editors don't show as it is read", "remove it", place)


def _within_the_known(findings: Iterable[Finding], others: tuple[Finding, ...]) -> Iterable[Finding]:
    """Leave out what is inside keys that aren't known: `others` name these, and what they hold doesn't matter."""
    return (one for one in findings if not others or not one.path or schema.field(one.path))


def _problems(path: Path, document: Document, findings: Iterable[Finding]) -> list[Problem]:
    problems = []
    for one in findings:
        place = one.place or document.place(one.path)
        problems.append(Problem(str(path), place.line, place.column, dotted(one.path), one.message, one.remedy))
    return sorted(problems, key=lambda problem: (problem.line, problem.column, problem.path))
