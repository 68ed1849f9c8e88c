"""The table of feature gates as it is written; what it says, tests/unit/render/test_gates.py holds against programs."""

from __future__ import annotations

import json

from kharden.artifacts.gates import PATH, written
from kharden.versions.contract import SUPPORTED
from kharden.versions.gates import gates, on


def test_the_file_is_what_the_step_writes() -> None:
    table = json.loads(PATH.read_bytes())
    assert written(table) == PATH.read_bytes()
    assert tuple(table) == SUPPORTED


def test_what_a_gate_needs_is_there_and_is_on_by_itself_where_the_gate_is() -> None:
    """So that rules may say nothing of a cluster that sets none."""
    for minor in SUPPORTED:
        known = gates(minor)
        for gate in known.values():
            assert known.keys() >= set(gate.needs)
            assert not on(minor, {}, gate.name) or all(on(minor, {}, needed) for needed in gate.needs), gate.name


def test_a_whole_stage_sets_what_is_not_set_itself() -> None:
    assert on("1.36", {"AllAlpha": True}, "ContainerStopSignals")
    assert not on("1.36", {"AllAlpha": True, "ContainerStopSignals": False}, "ContainerStopSignals")
    assert not on("1.36", {"AllBeta": False}, "RotateKubeletServerCertificate")
    assert on("1.36", {"AllBeta": False, "RotateKubeletServerCertificate": True}, "RotateKubeletServerCertificate")


def test_a_minor_that_is_not_supported_has_no_table() -> None:
    assert not gates("1.20")
