from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest

from kharden import report as reports
from kharden.report.json_report import document
from kharden.report.model import VERDICTS
from kharden.spec.policy import Waiver

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.observe.model import Observation
    from kharden.plan.model import ClusterPlan
    from kharden.report import Report


@pytest.fixture
def mixed(lab: ClusterPlan, good: list[Observation], now: datetime) -> Report:
    """A report with every verdict that observations can lead to."""
    bad = {"kubelet-unit-mode": False, "etcd-own-user": False, "programs-mode": None}
    observations = [replace(one, ok=bad.get(one.control, one.ok), at=one.at + timedelta(seconds=4)) for one in good]
    waiver = Waiver(control="etcd-own-user", owner="jo", reason="until the upgrade", expires=date(2027, 3, 1))
    return reports.judge(lab, observations, [waiver], now)


def _schema() -> dict[str, Any]:
    text = (resources.files(reports) / "report.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def test_document_is_what_the_schema_says(mixed: Report) -> None:
    jsonschema.Draft202012Validator.check_schema(_schema())
    jsonschema.validate(document(mixed), _schema())


def test_schema_refuses_other_things(mixed: Report) -> None:
    changes: tuple[dict[str, Any], ...] = ({"schema": 2}, {"extra": 1}, {"started": "today"}, {"nodes": []})
    for change in changes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document(mixed) | change, _schema())


def test_schema_and_code_have_the_same_verdicts() -> None:
    assert _schema()["$defs"]["control"]["properties"]["verdict"]["enum"] == list(VERDICTS)


def test_document(mixed: Report) -> None:
    told = document(mixed)
    assert list(told) == ["schema", "cluster", "started", "finished", "kubernetes", "nodes", "controls", "summary"]
    assert (told["schema"], told["cluster"], told["kubernetes"], told["nodes"]) == (1, "real", "1.36.3", ["cp1", "w1"])
    assert (told["started"], told["finished"]) == ("2027-01-31T12:00:00Z", "2027-01-31T12:00:04Z")
    controls = {control["id"]: control for control in told["controls"]}
    assert controls["kubelet-unit-mode"] == {
        "id": "kubelet-unit-mode",
        "title": "The kubelet's unit file is root's alone",
        "severity": "medium",
        "refs": {"cis-1.12": ["4.1.1", "4.1.2"]},
        "verdict": "fail",
        "waiver": None,
        "observations": [
            {
                "node": node,
                "source": "collector",
                "expected": "what must be",
                "observed": "what is",
                "at": "2027-01-31T12:00:04Z",
            }
            for node in ("cp1", "w1")
        ],
    }
    assert controls["etcd-own-user"]["waiver"] == {
        "owner": "jo",
        "reason": "until the upgrade",
        "expires": "2027-03-01",
    }
    assert sum(told["summary"].values()) == len(controls)
    assert told["summary"]["unknown"] == 1


def test_report_is_written_for_its_owner_alone(mixed: Report, tmp_path: Path) -> None:
    path = reports.write(mixed, tmp_path / "evidence")
    assert path == tmp_path / "evidence" / "2027-01-31T12-00-00Z" / "report.json"
    assert json.loads(path.read_text(encoding="utf-8")) == document(mixed)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
