"""A node made of a temporary folder, and Ansible's modules run on it as programs of their own."""

from __future__ import annotations

import base64
import getpass
import grp
import gzip
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ansible.module_utils
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PLAYBOOKS = Path(__file__).parents[3] / "playbooks"
LIBRARY, MODULE_UTILS = PLAYBOOKS / "library", PLAYBOOKS / "module_utils"

# Ansible finds our module_utils by its configuration; tests import them under the same name.
ansible.module_utils.__path__ += [str(MODULE_UTILS), str(LIBRARY)]

# What Ansible does on a node, less the packing: the arguments come on standard input.
LAUNCH = """
import runpy, sys, ansible.module_utils
ansible.module_utils.__path__ += [sys.argv.pop(1), sys.argv.pop(1)]
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""
USER = getpass.getuser()
GROUP = grp.getgrgid(os.getegid()).gr_name


@dataclass(frozen=True)
class Result:
    """What a module returned, and all that it printed."""

    status: int
    values: dict[str, Any]
    printed: str

    @property
    def actions(self) -> dict[str, str]:
        """What happened to each path."""
        return {change["path"]: change["action"] for change in self.values["changes"]}


def run_module(
    name: str,
    arguments: dict[str, Any],
    *,
    check: bool = False,
    diff: bool = False,
    before: Callable[[], None] | None = None,
) -> Result:
    """Run the module `name` in a process of its own; `before` runs in it first (a limit, say)."""
    text = json.dumps({"ANSIBLE_MODULE_ARGS": arguments | {"_ansible_check_mode": check, "_ansible_diff": diff}})
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, str(MODULE_UTILS), str(LIBRARY), str(LIBRARY / f"{name}.py")],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=before,
    )
    lines = done.stdout.strip().splitlines()
    return Result(done.returncode, json.loads(lines[-1]) if lines else {}, done.stdout + done.stderr)


def pack(files: list[dict[str, Any]], **others: object) -> str:
    """A payload."""
    return base64.b64encode(
        gzip.compress(json.dumps({"schema": 1, "files": files} | others).encode(), mtime=0)
    ).decode()


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder: kind and mode, inode, times, content or target."""
    result: dict[str, tuple[object, ...]] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        result[str(path)] = (
            status.st_mode,
            status.st_uid,
            status.st_ino,
            status.st_mtime_ns,
            status.st_ctime_ns,
            content,
        )
    return result


class Node:
    """A node below a temporary folder: paths of entries are paths in there."""

    def __init__(self, root: Path) -> None:
        self.root = root / "node"
        self.root.mkdir()
        self.state = root / "state"
        self.staging = self.state / "staged"
        self.record, self.pending = self.state / "placed.json", self.state / "pending.json"

    def path(self, path: str) -> Path:
        return Path(f"{self.root}{path}")

    def put(self, path: str, text: str, mode: int = 0o644) -> Path:
        """Write a file by hand."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def stage(self, content: bytes, *, name: str = "") -> str:
        self.staging.mkdir(parents=True, exist_ok=True)
        digest = name or hashlib.sha256(content).hexdigest()
        (self.staging / digest).write_bytes(content)
        return digest

    def entry(self, path: str, **values: object) -> dict[str, Any]:
        return {"path": f"{self.root}{path}", "owner": USER, "group": GROUP, **values}

    def file(self, path: str, content: str | bytes, **values: object) -> dict[str, Any]:
        raw = content.encode() if isinstance(content, str) else content
        digest = hashlib.sha256(raw).hexdigest()
        given = {"kind": "file", "mode": "0600", "content": base64.b64encode(raw).decode(), "sha256": digest}
        return self.entry(path, **(given | values))

    def folder(self, path: str, mode: str = "0755") -> dict[str, Any]:
        return self.entry(path, kind="directory", mode=mode)

    def symlink(self, path: str, target: str) -> dict[str, Any]:
        return self.entry(path, kind="symlink", target=target)

    def arguments(self, *files: dict[str, Any], **values: object) -> dict[str, Any]:
        places = {"record": str(self.record), "pending": str(self.pending), "staging": str(self.staging)}
        return {"payload": pack(list(files)), **places, **values}

    def converge(self, *files: dict[str, Any], check: bool = False, diff: bool = False, **values: object) -> Result:
        return run_module("converge", self.arguments(*files, **values), check=check, diff=diff)

    def leftovers(self) -> list[Path]:
        """Temporary files."""
        return [path for path in self.root.rglob("*") if path.name.endswith(".kharden-new")]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path.resolve())
