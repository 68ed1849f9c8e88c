# SPDX-License-Identifier: Apache-2.0
"""The files that a node should have, as they are sent to it: checked as a whole before anything is touched.

The payload is base64 of gzip of JSON: `{"schema": 1, "files": [entry, …]}`. Messages name paths and keys, never values
of content.
"""

from __future__ import annotations

import base64
import binascii
import json
import posixpath
import re
import zlib
from dataclasses import dataclass, field
from hashlib import sha256

from . import files
from .errors import NodeError
from .restarts import is_restart

LONGEST = 256 << 20  # bytes of JSON: more is not a payload of ours
KINDS = ("file", "directory", "symlink")
_KEYS = {
    *("path", "kind", "owner", "group", "mode", "sha256", "size"),
    *("content", "target", "sensitive", "restarts", "validate"),
}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MODE = re.compile(r"[0-7]{4}")
_OWNER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?|[0-9]{1,10}")  # useradd(8), or a number
_PATH_MAX = 4096  # limits.h
_LONGEST_NAME = 255 - len(files.temporary("/"))  # NAME_MAX less what a temporary name adds


@dataclass(frozen=True, slots=True)
class Entry:
    """One path that a node should have. A file without `content` has it in the staging folder, under its digest."""

    path: str
    kind: str
    owner: str
    group: str
    mode: int
    sha256: str = ""
    size: int | None = None
    content: bytes | None = field(default=None, repr=False)
    target: str = ""
    sensitive: bool = False
    restarts: tuple[str, ...] = ()
    validate: tuple[str, ...] = ()


class PayloadError(NodeError):
    """The payload can't be used; `problems` has one line for each thing wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        more = f" (and {len(problems) - 1} more, see problems)" if len(problems) > 1 else ""
        super().__init__(f"payload refused, nothing was changed: {problems[0]}{more}", problems=problems)


def decode(payload: str) -> tuple[Entry, ...]:
    """The entries of `payload`, in its order.

    Raises:
        PayloadError: with everything that is wrong.
    """
    document = _unpack(payload)
    if not isinstance(document, dict) or document.keys() != {"schema", "files"} or document["schema"] != 1:
        raise PayloadError(["its form is not the one of schema 1: use the same version of kharden on both sides"])
    if not isinstance(document["files"], list):
        raise PayloadError(["files is not a list"])
    problems: list[str] = []
    entries = [_entry(item, number, problems) for number, item in enumerate(document["files"])]
    known = [entry for entry in entries if entry]
    problems += _tree_problems(known)
    if problems:
        raise PayloadError(problems)
    return tuple(known)


def _unpack(payload: str) -> object:
    try:
        inflate = zlib.decompressobj(wbits=31)  # 16 + 15: a gzip header and the largest window
        text = inflate.decompress(base64.b64decode(payload, validate=True), LONGEST)
        if not inflate.eof or inflate.unused_data:
            raise PayloadError([f"it is truncated, has a tail or is longer than {LONGEST} bytes"])
        return json.loads(text)
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        raise PayloadError(["it is not base64 of gzip of JSON"]) from None


def path_problem(path: object) -> str:
    """Why `path` can't be a path of an entry; empty if it can."""
    if not isinstance(path, str) or not path.startswith("/"):
        return "is not an absolute path"
    if path == "/" or path != posixpath.normpath(path) or path.startswith("//"):
        return "is not a normalized path below the root (no '..', '.', doubled or final slash)"
    if not path.isprintable() or len(path.encode()) >= _PATH_MAX:
        return "has unprintable characters or is too long"
    if any(len(part.encode()) > _LONGEST_NAME for part in path.split("/")):
        return f"has a name of more than {_LONGEST_NAME} bytes"
    if path.endswith(files.TEMPORARY_SUFFIX):
        return f"ends in {files.TEMPORARY_SUFFIX}, which temporary files are named"
    return ""


def _entry(item: object, number: int, problems: list[str]) -> Entry | None:
    if not isinstance(item, dict):
        problems.append(f"files[{number}]: is not an object")
        return None
    where = f"files[{number}]"
    if wrong := path_problem(item.get("path")):
        problems.append(f"{where}: its path {wrong}")
        return None
    where = item["path"]
    found = [*_form_problems(item), *_kind_problems(item)]
    content = None
    if not found and "content" in item:
        content = _content(item, found)
    problems += [f"{where}: {problem}" for problem in found]
    if found:
        return None
    return Entry(
        path=item["path"],
        kind=item["kind"],
        owner=item["owner"],
        group=item["group"],
        mode=int(item.get("mode", "0777"), 8),
        sha256=item.get("sha256") or (sha256(content).hexdigest() if content is not None else ""),
        size=item.get("size") if content is None else len(content),
        content=content,
        target=item.get("target", ""),
        sensitive=item.get("sensitive", False),
        restarts=tuple(item.get("restarts", ())),
        validate=tuple(item.get("validate", ())),
    )


def _form_problems(item: dict[str, object]) -> list[str]:
    """What is wrong with the values, each seen alone."""
    problems = [f"unknown key {key!r}" for key in sorted(item.keys() - _KEYS)]
    problems += [
        f"{key} is not a user's or group's name or number"
        for key in ("owner", "group")
        if not isinstance(name := item.get(key), str) or not _OWNER.fullmatch(name)
    ]
    if item.get("kind") not in KINDS:
        problems.append("kind is not one of file, directory and symlink")
    mode = item.get("mode", "" if item.get("kind") != "symlink" else "0777")
    if not isinstance(mode, str) or not _MODE.fullmatch(mode):
        problems.append('mode is not a string of four octal digits, as in "0600"')
    if not isinstance(item.get("sensitive", False), bool):
        problems.append("sensitive is neither true nor false")
    size = item.get("size", 0)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        problems.append("size is not a number of bytes")
    restarts = item.get("restarts", [])
    if not isinstance(restarts, list) or not all(map(is_restart, restarts)):
        problems.append("restarts is not a list of units, daemon-reload, sysctl, modules or static-pod/NAME")
    return problems + _validate_problems(item.get("validate", []))


def _validate_problems(argv: object) -> list[str]:
    if argv == []:
        return []
    if not isinstance(argv, list) or not all(isinstance(word, str) and "\0" not in word for word in argv):
        return ["validate is not a list of arguments"]
    if not argv[0].startswith("/") or "%s" not in argv[1:]:
        return ['validate needs a program\'s absolute path first, and "%s" as one of its arguments']
    return []


def _kind_problems(item: dict[str, object]) -> list[str]:
    """What is wrong with the values together."""
    kind, problems = item.get("kind"), []
    if kind == "file":
        if "sha256" not in item and "content" not in item:
            problems.append("a file needs sha256, content or both")
        if "sha256" in item and not (isinstance(item["sha256"], str) and _DIGEST.fullmatch(item["sha256"])):
            problems.append("sha256 is not 64 lower-case hexadecimal digits")
        if item.get("sensitive") is True and str(item.get("mode"))[-1:] != "0":
            problems.append("it is sensitive, but its mode lets everybody at it")
    elif extra := sorted({"sha256", "size", "content", "sensitive", "validate"} & item.keys()):
        problems.append(f"only a file has {', '.join(extra)}")
    target = item.get("target")
    if (kind == "symlink") != ("target" in item):
        problems.append("a symlink needs a target, and nothing else has one")
    elif kind == "symlink" and not (isinstance(target, str) and target and target.isprintable()):
        problems.append("target is not a path")
    return problems


def _content(item: dict[str, object], problems: list[str]) -> bytes | None:
    text = item["content"]
    try:
        content = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        content = None
    if content is None:
        problems.append("content is not base64")
    elif item.get("sha256", sha256(content).hexdigest()) != sha256(content).hexdigest():
        problems.append("its content doesn't have the digest that sha256 names")
    elif item.get("size", len(content)) != len(content):
        problems.append("its content doesn't have the size that size names")
    return content


def _tree_problems(entries: list[Entry]) -> list[str]:
    """Paths listed twice, and paths below something that is no directory."""
    problems: list[str] = []
    kinds: dict[str, str] = {}
    for entry in entries:
        if entry.path in kinds:
            problems.append(f"{entry.path}: is listed twice")
        kinds[entry.path] = entry.kind
    problems += [
        f"{entry.path}: lies below {above}, which is listed as a {kinds[above]}"
        for entry in entries
        for above in parents(entry.path)
        if kinds.get(above, "directory") != "directory"
    ]
    return problems


def parents(path: str) -> list[str]:
    """The folders on the way to `path`, the outermost first, without the root."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]
