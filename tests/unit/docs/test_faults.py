"""docs/faults.md names the tests that show what it says: they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/faults.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tests() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py"))
    return {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}


def test_every_named_test_is_there(tests: set[str]) -> None:
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 20
    assert named - tests == set()


def test_every_named_spec_is_there() -> None:
    named = set(re.findall(r"`((?:bytes|keys|rule|values|yaml)-[a-z-]+\.yaml)`", TEXT))
    assert len(named) > 20
    assert {name for name in named if not (ROOT / "tests/invalid" / name).exists()} == set()
