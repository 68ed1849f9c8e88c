"""A plan in a file: exactly that is applied, or nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from kharden.apply import saved
from kharden.apply.choice import Choice
from kharden.apply.restarts import Restart
from kharden.apply.runner import ApplyResult, Change
from kharden.apply.saved import load, save
from kharden.errors import InputError, KhardenError, MissingError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
PLACE, POD = "Place all files", "static-pod/kube-apiserver"


def detail(path: str, **more: object) -> Mapping[str, Any]:
    return {"action": "update", "path": path, "diff": f"-{path}\n+new", **more}


def result(*changes: Change, restarts: tuple[Restart, ...] = (), build: str = "b" * 64) -> ApplyResult:
    return ApplyResult("successful", [], list(changes), restarts=list(restarts), notes=["cp1: a note"], build=build)


SEEN = result(
    Change("cp1", PLACE, (detail("/etc/a"), detail("/etc/b"))),
    Change("w1", "Join", ()),
    restarts=(Restart(1, "cp1", POD, 6.0, "measured"),),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    save(path, "lab", Choice(limit=("cp1", "w1"), phases=("host",)), SEEN, now=NOW)
    return path


def test_it_is_json_with_a_schema_for_its_owner_alone(path: Path) -> None:
    assert path.stat().st_mode & 0o7777 == 0o600
    document = json.loads(path.read_bytes())
    assert (document["schema"], document["cluster"], document["at"]) == (1, "lab", "2026-11-21T20:00:00Z")
    assert document["restarts"] == [
        {"order": 1, "node": "cp1", "what": POD, "api_away_seconds": 6.0, "reason": "measured"}
    ]
    plan = load(path, "lab")
    assert (plan.limit, plan.tags) == ("cp1,w1", "host")


def test_what_was_seen_may_be_applied(path: Path) -> None:
    plan = load(path, "lab")
    plan.refuse_other_build("b" * 64)
    # How long something was away is no state of a node, and another order of nodes no other plan.
    again = result(*reversed(SEEN.changes), restarts=(Restart(1, "cp1", POD, 9.0, "other"),))
    plan.refuse_other_nodes(again)


JOIN = Change("w1", "Join", ())
API = (Restart(1, "cp1", POD),)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (
            result(Change("cp1", PLACE, (detail("/etc/a"),)), JOIN, restarts=API),
            ["cp1: …: Place all files: update /etc/b is done already"],
        ),
        (
            result(Change("cp1", PLACE, (detail("/etc/a"), detail("/etc/b", diff="x"))), JOIN, restarts=API),
            ["cp1: …: Place all files: update /etc/b is otherwise than it was"],
        ),
        (
            result(*SEEN.changes, Change("cp1", "Run services", ({"action": "start", "name": "x"},)), restarts=API),
            ["cp1: …: Run services: start x has come"],
        ),
        (result(*SEEN.changes), [f"cp1: …: Restarts: {POD} is done already"]),
        (
            result(SEEN.changes[0], Change("w2", "Join", ()), restarts=API),
            ["w1: …: Join is done already", "w2: …: Join has come"],
        ),
    ],
)
def test_a_node_that_moved_on_is_named_with_what_moved(path: Path, now: ApplyResult, told: list[str]) -> None:
    with pytest.raises(RefusedError) as caught:
        load(path, "lab").refuse_other_nodes(now)
    since = "has moved on since the plan of 2026-11-21T20:00:00Z"
    assert [line.replace(since, "…") for line in caught.value.details] == told
    assert str(caught.value) == f"{caught.value.details[0]}: nothing was changed; look at a new plan"


def test_another_build_and_another_kharden_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = load(path, "lab")
    with pytest.raises(RefusedError, match="the build was rendered anew since this plan: look at a new plan"):
        plan.refuse_other_build("c" * 64)
    monkeypatch.setattr(saved, "program", lambda: "another")
    with pytest.raises(RefusedError, match="another kharden made this plan"):
        plan.refuse_other_build("b" * 64)


def changed(**keys: object) -> bytes:
    whole = {
        "schema": 1,
        "kharden": "",
        "cluster": "lab",
        "at": "",
        "build": "",
        "limit": [],
        "phases": [],
        "nodes": {},
    }
    return json.dumps(whole | keys).encode()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is no saved plan"),
        (b"\xff\x00", "is no saved plan"),
        (b"[1]", "is no saved plan"),
        (b"{}", "is no saved plan"),
        (b"[" * 100_000, "is no saved plan"),
        (changed(schema=2), "has schema 2, not 1"),
        (changed(limit="cp1"), "is a damaged plan"),
        (changed(limit=[{}]), "is a damaged plan"),
        (changed(nodes={"cp1": 1}), "is a damaged plan"),
        (changed(nodes={"cp1": [{"task": "x", "changes": 1}]}), "is a damaged plan"),
        (changed(cluster="other\x1b"), r"is a plan of the cluster 'other\x1b'"),
    ],
)
def test_what_is_no_plan_of_this_cluster_is_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(path, "lab")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="can't be read"):
        load(tmp_path / "none", "lab")
    with pytest.raises(KhardenError, match="can't be read"):
        load(tmp_path, "lab")
