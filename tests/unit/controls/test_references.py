from __future__ import annotations

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


def test_references() -> None:
    assert references("apiserver-profiling-off") == {"cis-1.12": ["1.2.15"]}
    assert references("etcd-data-directory") == {"cis-1.12": ["1.1.11", "1.1.12"], "stig-v2r6": ["V-242445"]}
    assert references("units-running") == {}
