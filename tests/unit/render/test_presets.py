"""What another preset changes in the lab's own cluster, as a difference that a person reads.

`KHARDEN_REGENERATE=1 pytest tests/unit/render/test_presets.py` records it anew, and fails once.
"""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING

import pytest

from .stand_ins import GOLDEN, planned, rendered

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.render.cluster import Build


def texts(build: Build) -> dict[str, list[str]]:
    """Every file of every node, and every manifest, as lines."""
    files = {f"{node.node}:{file.path}": file.content for node in build.nodes for file in node.files}
    files |= {f"cluster/{manifest.name}": manifest.content for manifest in build.cluster}
    return {name: content.decode().splitlines(keepends=True) for name, content in files.items()}


@pytest.mark.parametrize("preset", ["baseline", "stig"])
def test_a_preset_changes_what_was_recorded(preset: str, tmp_path: Path) -> None:
    text = (GOLDEN / "lab" / "cluster.yaml").read_text(encoding="utf-8")
    path = tmp_path / "lab" / "cluster.yaml"
    path.parent.mkdir()
    path.write_text(text.replace("spec:\n", f"spec:\n  preset: {preset}\n", 1), encoding="utf-8")
    before, after = texts(rendered(planned(GOLDEN / "lab" / "cluster.yaml"))), texts(rendered(planned(path)))
    assert before.keys() == after.keys()
    found = "".join(
        line
        for name in before
        for line in difflib.unified_diff(before[name], after[name], f"cis/{name}", f"{preset}/{name}", n=0)
        if not line.startswith("@@")  # where in a file it is says nothing of the preset
    )
    recorded = GOLDEN / "presets" / f"{preset}.diff"
    if os.environ.get("KHARDEN_REGENERATE") == "1":
        recorded.parent.mkdir(exist_ok=True)
        recorded.write_text(found, encoding="utf-8")
        pytest.fail(f"recorded anew: read it in tests/golden/presets/{recorded.name}")
    assert found == recorded.read_text(encoding="utf-8"), "if this is meant, record it with KHARDEN_REGENERATE=1"
