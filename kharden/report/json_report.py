"""report.json, which scripts rely on: its form is `report.schema.json`, beside this file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kharden import securefile
from kharden.controls import references

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from kharden.report.model import Judgement, Report
    from kharden.spec.policy import Waiver

SCHEMA = 1


def document(report: Report) -> dict[str, Any]:
    """The report as JSON takes it."""
    return {
        "schema": SCHEMA,
        "cluster": report.cluster,
        "started": _time(report.started),
        "finished": _time(report.finished),
        "kubernetes": report.kubernetes,
        "nodes": list(report.nodes),
        "controls": [_control(one) for one in report.judgements],
        "summary": report.summary,
    }


def write(report: Report, folder: Path) -> Path:
    """Write `<folder>/<UTC time>/report.json`; its path.

    It names weaknesses, so it is for its owner alone.

    Raises:
        WriteError: the folder can't be written to.
    """
    own = folder / f"{report.started:%Y-%m-%dT%H-%M-%SZ}"
    securefile.make_folder(own, mode=0o700)
    path = own / "report.json"
    text = json.dumps(document(report), ensure_ascii=False, indent=2)
    securefile.write(path, f"{text}\n".encode(), mode=0o600)
    return path


def _control(judgement: Judgement) -> dict[str, Any]:
    control = judgement.control
    return {
        "id": control.id,
        "title": control.title,
        "severity": control.severity,
        "refs": references(control.id),
        "verdict": judgement.verdict,
        "waiver": _waiver(judgement.waiver) if judgement.waiver and judgement.verdict == "waived" else None,
        "observations": [
            {
                "node": one.node,
                "source": one.source,
                "expected": one.expected,
                "observed": one.observed,
                "at": _time(one.at),
            }
            for one in judgement.observations
        ],
    }


def _waiver(waiver: Waiver) -> dict[str, str]:
    return {"owner": waiver.owner, "reason": waiver.reason, "expires": waiver.expires.isoformat()}


def _time(value: datetime) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}"
