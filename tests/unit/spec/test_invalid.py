"""Every file of tests/invalid/ gives exactly the problems that lie beside it, in their order, with places and remedies.

With KHARDEN_REGENERATE=1 the expected lists are written anew and the tests fail once, so that a person reads them.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kharden.spec import rules
from kharden.spec.judgement import judged
from kharden.spec.load import load
from kharden.spec.model import Cluster
from kharden.spec.problems import SpecError
from kharden.spec.reader import read

if TYPE_CHECKING:
    from kharden.spec.network_rules import Rule

FOLDER = Path(__file__).parents[2] / "invalid"
SPECS = sorted(FOLDER.glob("*.yaml"))
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def problems_of(path: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(path, NOW)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_gives_its_expected_problems(path: Path) -> None:
    expected = path.with_suffix(".expected")
    found = problems_of(path)
    if os.environ.get("KHARDEN_REGENERATE") == "1":
        expected.write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
        pytest.fail(f"{expected.name} was written anew: read it, then run without KHARDEN_REGENERATE")
    assert found == expected.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_problem_has_a_place_and_a_remedy(path: Path) -> None:
    lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    with pytest.raises(SpecError) as caught:
        load(path, NOW)
    for problem in caught.value.problems:
        assert problem.message
        assert problem.remedy
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


def test_no_expected_list_is_orphaned() -> None:
    assert {path.stem for path in FOLDER.glob("*.expected")} == {path.stem for path in SPECS}


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_every_rule_has_a_spec_that_breaks_it(rule: Rule) -> None:
    clusters = [judged(read(path.read_text(encoding="utf-8"))) for path in FOLDER.glob("rule-*.yaml")]
    broken_by = [cluster for cluster in clusters if isinstance(cluster, Cluster) and list(rule(cluster))]
    assert broken_by


def test_every_rule_spec_is_valid_but_for_its_rule() -> None:
    for path in FOLDER.glob("rule-*.yaml"):
        assert isinstance(judged(read(path.read_text(encoding="utf-8"))), Cluster), path.name


def broken_rules(path: Path) -> frozenset[str]:
    """What a spec is there for: the rules that it breaks, or for one that isn't read that far what is said of it."""
    cluster = judged(read(path.read_text(encoding="utf-8"))) if path.stem.startswith("rule-") else None
    if isinstance(cluster, Cluster) and (found := [rule.__name__ for rule in rules.RULES if list(rule(cluster))]):
        return frozenset(found)
    lines = path.with_suffix(".expected").read_text(encoding="utf-8").splitlines()
    return frozenset(line.split(": ")[-2] for line in lines)


def test_there_are_many_and_they_differ() -> None:
    """At least 60, of which no more than two are counted for one rule."""
    counts = Counter(map(broken_rules, SPECS))
    assert sum(min(count, 2) for count in counts.values()) >= 60, counts
