"""Levels in the audit log: a request without an event has the level None, and nothing is told of what is in one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from kharden.controls import CONTROLS
from kharden.controls.checks import AuditLevel
from kharden.observe.collector import audit, probes
from kharden.observe.measure import asked_of
from kharden.observe.request import request
from kharden.observe.witnesses import everybody

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kharden.plan.model import ClusterPlan

ASKED: dict[str, dict[str, Any]] = {
    "quiet": {"path": "/api/v1/namespaces/default/events/NAME", "body": None},
    "last": {"path": "/apis/rbac/roles/NAME", "body": None},
    "token": {"path": "/apis/tokenreviews?fieldManager=NAME", "body": '{"token":"NAME"}'},
}


def server(log: Path, answer: str = "403") -> Callable[..., dict[str, str]]:
    """An API server that audits everything but events."""

    def ask(*, path: str, body: str | None) -> dict[str, str]:
        if "/events/" not in path:
            level = "RequestResponse" if "/roles/" in path else "Metadata"
            with log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"level": level, "verb": "create", "requestURI": path, "body": body}) + "\n")
        return {"outcome": answer, "message": ""}

    return ask


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    path.write_text('{"level":"RequestResponse","requestURI":"/somebody/elses"}\n', encoding="utf-8")
    return path


def test_each_request_is_found_by_a_name_of_its_own(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "probe", server(log))
    for _ in range(2):  # what an earlier run left in the log counts for nothing
        found = audit.levels(str(log), ASKED, "last")
        assert found == {"quiet": "None", "last": "RequestResponse", "token": "Metadata"}
    names = re.findall("kharden-verify-[0-9a-f]{16}", log.read_text(encoding="utf-8"))
    assert len(set(names)) == 4
    assert "NAME" not in log.read_text(encoding="utf-8")


def test_the_last_request_is_made_last(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "probe", server(log))
    audit.levels(str(log), ASKED, "last")
    assert "/roles/" in log.read_text(encoding="utf-8").splitlines()[-1]


def test_without_any_event_nothing_is_known(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "probe", server(log.with_name("another.log")))
    monkeypatch.setattr(audit, "_SECONDS", 0.0)
    with pytest.raises(RuntimeError, match="no event of last"):
        audit.levels(str(log), ASKED, "last")


def test_a_request_that_was_not_answered_proves_nothing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "probe", server(log, "connection refused"))
    with pytest.raises(RuntimeError, match="connection refused"):
        audit.levels(str(log), ASKED, "last")


def _checks() -> list[AuditLevel]:
    return [check for control in CONTROLS for check in control.checks if isinstance(check, AuditLevel)]


def test_the_last_request_is_one_that_every_cluster_is_asked(plan: ClusterPlan) -> None:
    asked: dict[str, Any] = request(everybody(plan), plan.nodes[0], {}, passive=False)["cluster"]
    (last,) = (check for check in _checks() if check.what == asked["audited_last"])
    assert (last.layer, last.level) == ("", "RequestResponse")
    assert set(asked["audited"]) == {check.what for check in _checks() if asked_of(plan, check)}


def test_names_are_where_they_can_be_found_and_texts_differ() -> None:
    for check in _checks():
        assert "NAME" in check.request[1]
    assert len({check.what for check in _checks()}) == len(_checks())
