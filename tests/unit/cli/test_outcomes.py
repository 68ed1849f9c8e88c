"""What tasks make of what commands found: exit statuses, JSON, and who is asked before this machine is changed."""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit
from rich.console import Console

from kharden import cli, commands
from kharden import lab as lab_nodes
from kharden.apply.restarts import Restart
from kharden.apply.runner import ApplyResult, Change, Failure, RunError
from kharden.errors import RefusedError, RemoteError
from kharden.lab import HostChange
from kharden.place import Place
from kharden.progress import Reporter
from kharden.validation import examined, validate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .conftest import Site

    Given = Callable[..., None]

DETAIL = {"path": "/etc/[it]", "action": "update", "diff": "-[a]\n+[b]\n"}
LAB = """\
apiVersion: kharden.dev/v1
kind: Cluster
metadata: {name: NAME}
spec:
  kubernetes: {version: 1.36.3}
  nodes:
    - {name: cp1, address: ADDRESS, role: control-plane}
  network: {nodeCIDRs: [NODES], podCIDRs: [PODS], serviceCIDRs: [SERVICES]}
  lab: {}
"""
FOUR = {"ADDRESS": "192.0.2.11", "NODES": "192.0.2.0/24", "PODS": "10.200.0.0/16", "SERVICES": "10.201.0.0/16"}
SIX = {
    "ADDRESS": '"2001:db8:1::11"',
    "NODES": '"2001:db8:1::/64"',
    "PODS": '"2001:db8:2::/56"',
    "SERVICES": '"2001:db8:3::/112"',
}


def lab_text(values: dict[str, str]) -> str:
    text = LAB
    for name, value in values.items():
        text = text.replace(name, value)
    return text


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Commands find what a test says; nothing is looked at."""

    def given(result: ApplyResult | Exception) -> None:
        def apply(*_arguments: object, **_options: object) -> ApplyResult:
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(commands, "apply", apply)
        monkeypatch.setattr(commands, "agree_to_lab", lambda *_arguments: True)
        monkeypatch.setattr(commands, "bring_up_lab", lambda *_arguments: None)

    return given


def run(site: Site, task: str, **options: Any) -> int:  # noqa: ANN401  # as the task takes them
    """The exit status of a task."""
    try:
        cli.collection(site.root, default_cluster="a")[task](Context(), **options)
    except Exit as end:
        return int(end.code)
    return 0


CHANGED = ApplyResult("successful", [], [Change("cp1", "Place all files", (DETAIL, DETAIL))], {"Host": 1.5}, {"cp1": 3})


@pytest.mark.parametrize(("result", "status"), [(ApplyResult("successful"), 0), (CHANGED, 2)])
def test_a_plan_tells_by_its_status_whether_there_is_something_to_do(
    site: Site, outcome: Given, result: ApplyResult, status: int
) -> None:
    site.add("a")
    outcome(result)
    assert run(site, "plan") == status
    assert run(site, "plan", json=True) == status


def test_a_plan_shows_every_difference_as_it_is(site: Site, outcome: Given, capsys: pytest.CaptureFixture[str]) -> None:
    site.add("a")
    outcome(CHANGED)
    run(site, "plan")
    assert capsys.readouterr().out.splitlines() == [
        *(["cp1: Place all files: update /etc/[it]", "-[a]", "+[b]"] * 2),
        "1 tasks would change something",
    ]


def test_a_nodes_words_give_the_terminal_no_commands(
    site: Site, outcome: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    """What lies on a node stands in a plan's diff, and what its programs say in an error."""
    site.add("a")
    hostile = "\x1b]0;owned\x07\x1b[2J\u202eé\rend"
    detail = {"path": f"/etc/{hostile}", "action": "update", "diff": f"-{hostile}\n+b\n"}
    outcome(ApplyResult("successful", [], [Change("cp1", "Place all files", (detail,))], {}, {"cp1": 1}))
    run(site, "plan")
    shown = r"\x1b]0;owned\x07\x1b[2J\u202eé\rend"
    assert capsys.readouterr().out.splitlines()[:3] == [f"cp1: Place all files: update /etc/{shown}", f"-{shown}", "+b"]
    outcome(RemoteError(f"cp1: {hostile}"))
    with pytest.raises(Exit) as caught:
        cli.collection(site.root, default_cluster="a")["plan"](Context())
    assert caught.value.message == f"kharden: cp1: {shown}"


AGREED: dict[str, dict[str, bool]] = {"plan": {}, "apply": {"yes": True}}


def test_machines_are_not_touched_before_somebody_agrees(
    site: Site, outcome: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add("a")
    outcome(CHANGED)
    with pytest.raises(Exit) as caught:
        cli.collection(site.root, default_cluster="a")["apply"](Context())
    assert caught.value.message == "kharden: nothing was applied: nobody agreed to it: look at the plan, then add --yes"
    assert "cp1 (192.0.2.11) becomes what build/a says" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["plan", "apply"])
def test_json_has_every_change_and_nothing_stands_beside_it(
    site: Site, outcome: Given, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    site.add("a")
    outcome(CHANGED)
    run(site, task, json=True, **AGREED[task])
    told = json.loads(capsys.readouterr().out)
    assert (told["changed"], told["changes"]) == (
        1,
        [{"node": "cp1", "task": "Place all files", "changes": [DETAIL, DETAIL]}],
    )


def test_an_apply_that_changed_something_went_well_and_says_what_comes_next(
    site: Site, outcome: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add("a")
    outcome(CHANGED)
    assert run(site, "apply", yes=True) == 0
    said = capsys.readouterr().out
    assert "1 tasks changed something" in said
    assert "verify --cluster a" in said
    assert "-[a]" not in said


@pytest.mark.parametrize("task", ["plan", "apply"])
def test_an_error_is_status_1_in_one_line_with_its_details_below(
    site: Site, outcome: Given, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    site.add("a")
    outcome(RemoteError("cp1: no", remedy="mend it", details=["cp1: no", "w1: no"]))
    with pytest.raises(Exit) as caught:
        cli.collection(site.root, default_cluster="a")[task](Context(), json=True, **AGREED[task])
    assert caught.value.code == 1
    assert caught.value.message == "kharden: cp1: no: mend it\n  w1: no"
    told = json.loads(capsys.readouterr().out)
    assert told == {"error": "cp1: no", "remedy": "mend it", "details": ["cp1: no", "w1: no"]}


def broken() -> RunError:
    """A run that changed cp1 and restarted it before w1 failed."""
    failures = [Failure("w1", "Import images", "no room"), Failure("w2", "Look", "gone", unreachable=True)]
    result = ApplyResult("failed", failures, CHANGED.changes, {"Host": 1.5}, {"cp1": 3})
    result.restarts.append(Restart(1, "cp1", "kubelet.service"))
    return RunError(RemoteError("w1: no room", remedy="apply again", details=["w1: no room"]), result)


def test_json_of_a_run_that_failed_has_what_was_done_and_what_failed_where(
    site: Site, outcome: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add("a")
    outcome(broken())
    assert run(site, "apply", json=True, yes=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["error"] == "w1: no room"
    assert told["failures"] == {
        "w1": [{"task": "Import images", "message": "no room", "unreachable": False}],
        "w2": [{"task": "Look", "message": "gone", "unreachable": True}],
    }
    assert told["changes"] == [{"node": "cp1", "task": "Place all files", "changes": [DETAIL, DETAIL]}]
    assert [(one["order"], one["node"], one["what"]) for one in told["restarts"]] == [(1, "cp1", "kubelet.service")]
    assert told["changed"] == 1


def test_a_person_too_is_told_what_was_done_before_a_run_failed(
    site: Site, outcome: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add("a")
    outcome(broken())
    assert run(site, "apply", yes=True) == 1
    said = capsys.readouterr().out
    assert "cp1: kubelet.service" in said
    assert said.endswith("1 tasks changed something\n")
    outcome(RunError(RemoteError("w1: no room"), ApplyResult("failed")))
    assert run(site, "apply", yes=True) == 1
    assert capsys.readouterr().out.endswith("no task that changes something came to its end\n")


@pytest.mark.parametrize("task", ["plan", "apply"])
def test_notes_are_told_where_a_run_fails_too(
    site: Site, outcome: Given, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    site.add("a")
    result = ApplyResult("failed", notes=["anna was cut off", "\x1b[2Jgone"])
    outcome(RunError(RemoteError("w1: no room"), result))
    assert run(site, task, **AGREED[task]) == 1
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("Note:")] == [
        "Note: anna was cut off",
        r"Note: \x1b[2Jgone",
    ]
    assert run(site, task, json=True, **AGREED[task]) == 1
    assert json.loads(capsys.readouterr().out)["notes"] == result.notes


@pytest.mark.parametrize("status", [0, 1])
def test_seconds_have_the_same_phases_whether_it_went_well_or_not(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    def apply(_place: Place, reporter: Reporter, **_options: object) -> ApplyResult:
        reporter.phase("Host")
        if status:
            raise RunError(RemoteError("w1: no room"), ApplyResult("failed", seconds={"Host": 1.5}))
        return ApplyResult("successful", seconds={"Host": 1.5})

    site.add("a")
    monkeypatch.setattr(commands, "apply", apply)
    monkeypatch.setattr(commands, "bring_up_lab", lambda _place, reporter, _choice: reporter.phase("Start the nodes"))
    assert run(site, "apply", json=True, yes=True) == status
    assert list(json.loads(capsys.readouterr().out)["seconds"]) == ["Start the nodes", "Host"]


# --- the manifest of a network plugin


MANIFEST = "apiVersion: v1\nkind: Pod\nmetadata: {name: one}\n"


def with_manifest(site: Site, content: str) -> Path:
    digest = hashlib.sha256(content.encode()).hexdigest()
    path = site.add("a")
    path.write_text(
        path.read_text() + f"    plugin: manifest\n    manifest: {{path: network.yaml, sha256: {digest}}}\n"
    )
    manifest = path.with_name("network.yaml")
    manifest.write_text(content)
    return manifest


@pytest.mark.parametrize("task", ["validate", "render"])
def test_a_manifest_with_a_secret_is_refused_before_anything_is_made(site: Site, task: str) -> None:
    secret = MANIFEST.replace("Pod", "Secret") + "stringData: {key: canary-4711}\n"
    manifest = with_manifest(site, f"{MANIFEST}---\n{secret}")
    with pytest.raises(Exit) as caught:
        cli.collection(site.root, default_cluster="a")[task](Context())
    assert caught.value.message == (
        f"kharden: {manifest}: 1 problem\n  {manifest}:5:1: "
        "this Secret has values, which would lie in the clear in build/: "
        "leave out its data and stringData and the annotation kubectl.kubernetes.io/last-applied-configuration, "
        "and fill it in the cluster by kubectl"
    )
    assert {path.name for path in site.root.iterdir()} == {"inventories", "identity"}
    assert not list((site.root / "identity").iterdir())


def test_a_manifest_is_rendered_as_it_was_examined(site: Site) -> None:
    """It is read once: nothing can take its place between."""
    manifest = with_manifest(site, "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
    _, content = examined(validate(Place(site.root, "a")))
    assert content == manifest.read_bytes()
    site.add("b")
    assert examined(validate(Place(site.root, "b")))[1] is None


def test_what_is_rarely_meant_in_a_manifest_is_a_warning(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    ports = "{containers: [{ports: [{containerPort: 9100}]}], hostNetwork: true}"
    with_manifest(site, f"{MANIFEST}spec: {ports}\n")
    assert run(site, "validate") == 0
    said = capsys.readouterr().out
    assert "network.yaml:1:1: these ports of a workload on the nodes' own network are dropped" in said
    assert "spec.network.plugin: no port is open for this plugin" in said


# --- the lab


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine on which a lab would change something; what is done to it is noted."""
    done: list[str] = []
    change = HostChange("interface", "khlab-a", "", "made", "the nodes' network")
    monkeypatch.setattr(lab_nodes, "check", lambda _lab: done.append("checked"))
    monkeypatch.setattr(lab_nodes, "host_changes", lambda _lab: (change,))
    monkeypatch.setattr(lab_nodes, "up", lambda lab, _reporter, **_options: done.append(f"started {lab.name}"))
    return done


def test_nothing_on_this_machine_is_changed_before_somebody_agreed(site: Site, host: list[str]) -> None:
    site.add("a", lab_text(FOUR))
    asked: list[Sequence[str]] = []

    def refuse(changes: Sequence[str]) -> bool:
        asked.append(changes)
        return False

    with pytest.raises(RefusedError, match="nobody agreed to the changes on this machine: add --yes"):
        commands.agree_to_lab(Place(site.root, "a"), refuse)
    assert host == ["checked"]
    assert "khlab-a" in asked[0][0]


def test_without_a_terminal_only_yes_agrees(site: Site, host: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("a", lab_text(FOUR))
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert run(site, "lab.up") == 1
    assert host == ["checked"]
    assert run(site, "lab.up", yes=True) == 0
    assert host[-1] == "started a"


def test_a_machine_that_stays_as_it_is_is_nobodys_question(
    site: Site, host: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("a", lab_text(FOUR))
    monkeypatch.setattr(lab_nodes, "host_changes", lambda _lab: ())

    def ask(_changes: Sequence[str]) -> bool:
        pytest.fail("somebody was asked")

    assert commands.agree_to_lab(Place(site.root, "a"), ask)
    assert host == ["checked"]


def test_real_machines_are_not_started(site: Site, host: list[str]) -> None:
    site.add("a")
    place = Place(site.root, "a")
    assert not commands.agree_to_lab(place, lambda _changes: True)
    commands.bring_up_lab(place, silent())
    assert host == []


def test_a_chain_that_ends_with_apply_asks_before_it_builds(
    site: Site, host: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("a", lab_text(FOUR))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.argv", ["kharden", "render", "apply"])
    monkeypatch.setattr(commands, "render", lambda *_arguments, **_options: pytest.fail("it was rendered first"))
    assert run(site, "render") == 1
    assert host == ["checked"]


@pytest.mark.parametrize("named", [["--cluster", "apply"], ["--cluster=apply"]])
def test_a_cluster_with_a_tasks_name_makes_no_chain(
    site: Site, host: list[str], monkeypatch: pytest.MonkeyPatch, named: list[str]
) -> None:
    site.add("apply", lab_text(FOUR))
    rendered: list[str] = []

    def render(place: Place, *_arguments: object, **_options: object) -> commands.Rendered:
        rendered.append(place.cluster)
        return commands.Rendered(place.build, (), ())

    monkeypatch.setattr("sys.argv", ["kharden", "render", *named])
    monkeypatch.setattr(commands, "render", render)
    assert run(site, "render", cluster="apply") == 0
    assert (rendered, host) == (["apply"], [])


def test_a_lab_may_have_another_family(site: Site) -> None:
    site.add("a", lab_text(SIX))
    lab = commands.lab_of(validate(Place(site.root, "a")))
    assert lab is not None
    assert lab.has_ipv6
    assert len(lab.subnets) == 1
    assert all(node.addresses == (node.address,) and node.address in lab.subnet for node in lab.nodes)


def silent() -> Reporter:
    """A reporter that nobody sees."""
    return Reporter(Console(file=io.StringIO()))


def test_a_question_is_no_part_of_the_document(
    site: Site, outcome: Given, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add("a")
    outcome(CHANGED)
    terminal = io.StringIO("y\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    assert run(site, "apply", json=True) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["changed"] == 1
    assert told.err.count("Go on? [y/N] ") == 1


def test_the_end_of_input_agrees_to_nothing(
    site: Site, outcome: Given, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-D at the question."""
    site.add("a")
    outcome(CHANGED)
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    with pytest.raises(Exit) as caught:
        cli.collection(site.root, default_cluster="a")["apply"](Context())
    assert caught.value.message == "kharden: nothing was applied: nobody agreed to it: look at the plan, then add --yes"
    assert capsys.readouterr().err == "Go on? [y/N] \n"
