from __future__ import annotations

import re
from pathlib import Path

import pytest

from kharden.controls import CONTROLS, references
from kharden.controls.references import benchmarks

_IDS = Path(__file__).parent / "benchmark_ids"
# Automated checks of the benchmark that no control serves, each with the reason.
_UNSERVED: dict[str, str] = {}


def _known(name: str) -> dict[str, str]:
    lines = (_IDS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return {line.split()[0]: line.partition(" ")[2] for line in lines}


@pytest.mark.parametrize("name", sorted(benchmarks()))
def test_ids_exist_on_both_sides(name: str) -> None:
    controls = {entry.id for entry in CONTROLS}
    for entry, served_by in benchmarks()[name].items():
        assert entry in _known(name)
        assert served_by
        assert set(served_by) <= controls
        assert len(set(served_by)) == len(served_by)


def test_every_automated_cis_check_is_served() -> None:
    automated = {entry for entry, assessment in _known("cis-1.12").items() if assessment == "automated"}
    assert automated - set(benchmarks()["cis-1.12"]) == set(_UNSERVED)


@pytest.mark.parametrize(("name", "title"), [("cis-1.12", "CIS"), ("stig-v2r6", "DISA")])
def test_what_no_control_serves_stands_in_the_docs_with_its_reason(name: str, title: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    (section,) = (part for part in page.split("\n## ")[1:] if part.startswith(title))
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if re.match(r"\| [V0-9]", line)]
    assert [row[0] for row in rows] == [entry for entry in _known(name) if entry not in benchmarks()[name]]
    assert all(len(row) == 3 and row[2] for row in rows)


def test_references() -> None:
    assert references("apiserver-profiling-off") == {"cis-1.12": ["1.2.15"]}
    assert references("etcd-data-directory") == {
        "cis-1.12": ["1.1.11", "1.1.12"],
        "stig-v2r6": ["V-242445", "V-242459"],
    }
    assert references("units-running") == {}
