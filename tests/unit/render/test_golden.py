"""What a build holds, byte for byte: a change of any template shows here as a difference that a person reads.

`KHARDEN_REGENERATE=1 pytest tests/unit/render/test_golden.py` records it anew, and fails once.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from kharden.render.output import write

from .stand_ins import GOLDEN

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.render.cluster import Build
    from kharden.seal import Identities


def public(folder: Path) -> dict[str, str]:
    """The files of a build that are the same for everybody: all but the sealed ones and their record."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".age"]
    files = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in paths}
    files.pop("sealed.json", None)
    return files


def record(recorded: Path, found: dict[str, str]) -> None:
    shutil.rmtree(recorded, ignore_errors=True)
    for name, text in found.items():
        path = recorded / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_the_build_is_the_one_that_was_recorded(
    case: str, build: Build, identities: Identities, tmp_path: Path
) -> None:
    write(build, tmp_path / case, identities.recipients)
    found, recorded = public(tmp_path / case), GOLDEN / case / "rendered"
    if os.environ.get("KHARDEN_REGENERATE") == "1":
        record(recorded, found)
        pytest.fail(f"recorded anew: read the difference with `git diff {recorded.relative_to(GOLDEN.parents[1])}`")
    wanted = public(recorded)
    assert sorted(found) == sorted(wanted)
    for name, text in wanted.items():
        assert found[name] == text, f"{name}: if this is meant, record it with KHARDEN_REGENERATE=1"


def test_what_was_recorded_is_worth_comparing(case: str) -> None:
    wanted = public(GOLDEN / case / "rendered")
    assert {"manifest.json", "ansible/hosts.yaml", "cluster/namespaces.yaml"} <= wanted.keys()
    nodes = {"lab": 2, "ha": 5, "etcd": 3}[case]
    assert len([name for name in wanted if name.endswith("/etc/kharden/kubeadm/init.yaml")]) == nodes
