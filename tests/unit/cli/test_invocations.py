"""What a script or a person types, and what the programs answer: output, status, and never a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kharden.buildlock import held
from kharden.spec.load import load
from tests.unit.render.programs import found

from .conftest import CHECKOUT, SPEC, Invocation, Site, made

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Done = subprocess.CompletedProcess[str]
INVOKE = (sys.executable, "-m", "invoke")
LONG = "x" * 300

# Name → what is typed, what is in the environment, and what the answer says.
BAD: Mapping[str, tuple[tuple[str, ...], dict[str, str], str]] = {
    "no such task": (("nosuch",), {}, "No idea what 'nosuch' is!"),
    "no such flag": (("--nosuch",), {}, "No idea what '--nosuch' is!"),
    "no such flag of a task": (("apply", "--cluster", "a", "--now", "x"), {}, "No idea what '--now' is!"),
    # No task was begun that could print its document.
    "no such flag beside --json": (("plan", "--cluster", "a", "--json", "--now", "x"), {}, "No idea what '--now' is!"),
    "a word too many": (("validate", "--cluster", "a", "extra"), {}, "No idea what 'extra' is!"),
    "a flag without its value": (("validate", "--cluster"), {}, "needed value and was not given one"),
    "a node that is not named": (("lab.shell", "--cluster", "a"), {}, "did not receive required positional arguments"),
    "no cluster": (("validate",), {}, "no cluster is named: add --cluster NAME, or set KHARDEN_CLUSTER"),
    "a cluster without a name": (("validate", "--cluster="), {}, "no cluster is named"),
    "a cluster that is not there": (("validate", "--cluster", "c"), {}, "there is no such cluster: known ones: a, b"),
    "a cluster elsewhere": (("validate", "--cluster", "../a"), {}, "'../a' can't be a cluster's name"),
    "a cluster below another": (("validate", "--cluster", "a/b"), {}, "'a/b' can't be a cluster's name"),
    "a cluster elsewhere in the environment": (("validate",), {"KHARDEN_CLUSTER": "../a"}, "can't be a cluster's name"),
    "a hidden folder": (("validate", "--cluster", ".a"), {}, "'.a' can't be a cluster's name"),
    "a name too long": (("validate", "--cluster", LONG), {}, "can't be a cluster's name"),
    "a name that is no text": (("validate", "--cluster", "\udcff\udcfe"), {}, "can't be a cluster's name"),
    "a short flag": (("validate", "-c", "a"), {}, "No idea what '-c' is!"),
    "two clusters": (("validate", "--cluster", "a", "validate", "--cluster", "b"), {}, "several clusters: a, b"),
    "two clusters, one of them twice": (
        ("validate", "--cluster=a", "validate", "--cluster", "b", "validate", "--cluster=a"),
        {},
        "several clusters: b, a: run them one after the other",
    ),
    "no node to limit it to": (
        ("apply", "--cluster", "a", "--limit", "cp11"),
        {},
        "--limit: 'cp11' is no node of this",
    ),
    "no phase": (("plan", "--cluster", "a", "--tags", "hots"), {}, "--tags: 'hots' is no phase: write host"),
    "no wave": (("apply", "--cluster", "a", "--wave", "0"), {}, "--wave '0': is no number of workers: write 3, or 20%"),
    "no number": (("apply", "--cluster", "a", "--max-fail", "-1"), {}, "--max-fail '-1': is no number of workers"),
    "no saved plan": (
        ("apply", "--cluster", "a", "--plan", "none"),
        {},
        "none: can't be read (No such file or directory)",
    ),
    "a saved plan and a limit": (
        ("apply", "--cluster", "a", "--plan", "none", "--limit", "cp1"),
        {},
        "--limit and --plan: the plan says that itself: leave one of them out",
    ),
    "no time": (("render", "--cluster", "a", "--now", "tomorrow"), {}, "--now tomorrow: is not a time: write it as"),
    "a time before all": (("render", "--cluster", "a", "--now", "0001-01-01"), {}, "is out of range: choose a year"),
    "a time after all": (("render", "--cluster", "a", "--now", "9999-12-31T23:59:59Z"), {}, "is out of range"),
    "no time to verify": (("verify", "--cluster", "a", "--now", ""), {}, "is not a time"),
    "a plan without a build": (("plan", "--cluster", "a"), {}, "build/a/manifest.json: No such file or directory: run"),
    "a build that is none": (("plan", "--cluster", "none"), {}, "is not a manifest of kharden: run `invoke render`"),
    "a build of another file": (("plan", "--cluster", "b"), {}, "cluster.yaml was changed since this was rendered"),
    "an identity that is gone": (
        ("plan", "--cluster", "a"),
        {"KHARDEN_IDENTITY": "/no/such/identity"},
        "/no/such/identity: KHARDEN_IDENTITY names it, but it is not there",
    ),
    "an identity that others can read": (("plan", "--cluster", "a"), {"KHARDEN_IDENTITY": "OPEN"}, "run chmod 600"),
    "a folder in the place of the file": (("validate", "--cluster", "folder"), {}, "this is not a file"),
    "a link in the place of the file": (("validate", "--cluster", "link"), {}, "symbolic links are not followed"),
    "a folder without the file": (("validate", "--cluster", "empty"), {}, "there is no such file"),
    "bytes that are no text": (("validate", "--cluster", "bytes"), {}, "bytes/cluster.yaml:1:1: this file isn't UTF-8"),
    "a lab's node that is not there": (("lab.shell", "cp9", "--cluster", "a"), {}, ""),
    "a machine that is not there": (("hosts.scan", "w9", "--cluster", "a"), {}, ""),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """What came of each bad invocation, in one site that none of them may change."""
    folder = tmp_path_factory.mktemp("site")
    site = made(folder)
    for name in ("a", "b", "none", "bytes"):
        site.add(name)
    (folder / "inventories/bytes/cluster.yaml").write_bytes(b"\xff\xfe")
    (folder / "inventories/folder/cluster.yaml").mkdir(parents=True)
    (folder / "inventories/empty").mkdir()
    (folder / "inventories/link").mkdir()
    (folder / "inventories/link/cluster.yaml").symlink_to("../a/cluster.yaml")
    manifest = {"schema": 1, "specDigest": "0", "nodes": {}, "manifests": [], "ansible": []}
    for name, content in (("none", {}), ("b", manifest)):
        (folder / "build" / name).mkdir(parents=True)
        (folder / "build" / name / "manifest.json").write_text(json.dumps(content))
    (folder / "open.txt").write_text("AGE-SECRET-KEY-1\n")
    (folder / "open.txt").chmod(0o644)
    before = contents(folder)
    invocations = [
        Invocation(arguments, {key: value.replace("OPEN", str(folder / "open.txt")) for key, value in given.items()})
        for arguments, given, _ in BAD.values()
    ]
    done = dict(zip(BAD, site.all(invocations), strict=True))
    # apply takes a lock before it looks further, and that may stay.
    assert {name for name in contents(folder) if not name.endswith(".lock")} == set(before)
    return done


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("name", BAD)
def test_a_bad_invocation_is_told_what_is_wrong_and_changes_nothing(answers: dict[str, Done], name: str) -> None:
    done, expected = answers[name], BAD[name][2]
    assert done.returncode == 1, done
    assert done.stdout == "" or name.startswith("a lab's"), done
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines
    # One line says it; what follows are details of it.
    assert all(line.startswith("  ") for line in lines[1:]), lines


# --- validate


def test_a_good_file_is_good_in_one_line_whatever_its_path(tmp_path: Path) -> None:
    (tmp_path / "[red]a[/blue]").mkdir(parents=True)
    site = made(tmp_path / "[red]a[/blue]")
    path = site.add("a")
    done = site.run("validate", "--cluster", "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: good\n", "")


def test_every_problem_is_told_with_its_place(site: Site) -> None:
    path = site.add("a", SPEC.replace("192.0.2.11", "192.0.2.300").replace("10.200.0.0/16", "10.200.0.0/8"))
    done = site.run("validate", "--cluster", "a")
    assert (done.returncode, done.stdout) == (1, "")
    first, *details = done.stderr.splitlines()
    assert first == f"kharden: {path}: 2 problems"
    assert len(details) == 2
    for line, wanted in zip(details, ("8:16: spec.nodes[0].address", "13:16: spec.network.podCIDRs[0]"), strict=True):
        assert line.startswith(f"  {path}:{wanted}: ")
        assert re.search(r": (write|mend|give) ", line)


# --- which cluster is meant


def test_each_task_of_a_chain_prints_its_own_document(site: Site) -> None:
    site.add("a")
    said = site.typed(Invocation(("validate", "--json", "plan", "--json", "--cluster", "a"))).stdout
    first, end = json.JSONDecoder().raw_decode(said)
    second = json.loads(said[end:])
    assert first["cluster"] == "a"
    assert "build/a/manifest.json" in second["error"]


def test_a_cluster_that_is_named_once_holds_for_the_whole_chain(site: Site) -> None:
    # The first task comes before the name, and the environment says otherwise.
    for name in ("a", "b"):
        site.add(name)
    chains = (("validate", "plan", "--cluster", "b"), ("validate", "--cluster=b", "plan"))
    for done in site.all([Invocation(chain, {"KHARDEN_CLUSTER": "a"}) for chain in chains]):
        assert done.returncode == 1
        assert done.stdout.splitlines() == [f"{site.root}/inventories/b/cluster.yaml: good"]
        assert f"{site.root}/build/b/manifest.json" in done.stderr


def test_the_environment_names_a_cluster_and_a_flag_stands_above_it(site: Site) -> None:
    for name in ("a", "b"):
        site.add(name)
    said = {"KHARDEN_CLUSTER": "a"}
    first, second = site.all([Invocation(("validate",), said), Invocation(("validate", "--cluster", "b"), said)])
    assert "/a/cluster.yaml: good" in first.stdout
    assert "/b/cluster.yaml: good" in second.stdout


def test_in_a_checkout_the_lab_is_meant_and_a_collection_is_not_taken_for_a_cluster(site: Site) -> None:
    plain = site.typed(Invocation(("validate",), program=INVOKE, folder=CHECKOUT))
    # invoke's own -c, which it takes after a task without a word and then ignores.
    short = site.typed(Invocation(("validate", "-c", "nosuch"), program=INVOKE, folder=CHECKOUT))
    assert plain.stdout == f"{CHECKOUT}/inventories/lab/cluster.yaml: good\n"
    assert short.returncode == 1
    assert "-c is not a flag of this task: write --cluster NAME" in short.stderr


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'rmdir "$PWD"; exec "$0" -c "from kharden.cli import main; main()" validate'
    done = subprocess.run(["sh", "-c", script, sys.executable], cwd=gone, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("kharden: this folder can't be found any more")
    assert done.stderr.count("\n") == 1


# --- JSON


def test_json_is_one_document_also_where_it_fails(site: Site) -> None:
    path = site.add("a")
    site.add("bad", SPEC.replace("1.36.3", "1.30.0"))
    good, bad, none, odd, *labs = site.all(
        [
            Invocation(("validate", "--cluster", "a", "--json")),
            Invocation(("validate", "--cluster", "bad", "--json")),
            Invocation(("validate", "--cluster", "none", "--json")),
            Invocation(("kubeconfig", "--cluster", "a", "--output", "\udcff", "--hours", "\udcff", "--json")),
            Invocation(("lab.status", "--cluster", "a", "--json")),
            Invocation(("lab.up", "--cluster", "a", "--json")),
        ]
    )
    assert json.loads(good.stdout) == {"cluster": "a", "digest": load(path).digest, "problems": [], "warnings": []}
    told = json.loads(bad.stdout)
    assert (bad.returncode, told["error"]) == (1, f"{path.parents[1]}/bad/cluster.yaml: 1 problem")
    (problem,) = told["problems"]
    assert (problem["line"], problem["column"], problem["path"]) == (5, 25, "spec.kubernetes.version")
    assert problem["message"] == "this minor version isn't supported"
    assert problem["remedy"]
    assert "this minor version isn't supported" in bad.stderr
    for failed, what in ((none, "there is no such cluster"), (odd, "is not a part of an hour")):
        assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
        told = json.loads(failed.stdout)
        assert what in told["error"]
        assert f"{what}: {told['remedy']}\n" in failed.stderr
    for lab in labs:
        assert json.loads(lab.stdout) == {"lab": "a", "nodes": []}


def test_real_machines_never_get_our_own_builds_unless_somebody_says_so(site: Site) -> None:
    site.add("a")
    done = site.run("render", "--cluster", "a")
    assert done.returncode == 1
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("kharden: ")]
    assert "the lock has no official digest of kube-apiserver, " in said
    assert "say artifacts.source: source" in said
    assert not (site.root / "build").exists()
    assert not (site.root / "inventories/a/secrets").exists()


@pytest.mark.programs
def test_rendering_twice_gives_the_same_and_tells_it_in_json(site: Site) -> None:
    if not found().paths:
        pytest.skip("needs the programs of a cluster, which `invoke test` builds")
    site.add("a", f"{SPEC}  artifacts: {{source: source}}\n")
    first = site.run("render", "--cluster", "a", "--json")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert told["folder"] == f"{site.root}/build/a"
    assert "manifest.json" in told["changed"]
    assert [note for note in told["notes"] if "made" in note]
    # It is shown on standard error what goes on.
    assert "Render" in first.stderr
    with held(site.root / "build/a"):
        refused = site.run("render", "--cluster", "a")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"process {os.getpid()} works with it now" in refused.stderr
    again, later = site.all(
        [
            Invocation(("render", "--cluster", "a", "--json")),
            Invocation(("render", "--cluster", "a", "--now", "2040-01-01T00:00:00Z", "validate")),
        ]
    )
    assert json.loads(again.stdout)["changed"] == []
    # Time is an input: an authority that has ended by then issues nothing, and nothing is written.
    assert (later.returncode, "Traceback" in later.stderr) == (1, False)
    assert "look at the clock" in later.stderr
    manifest = site.root / "build/a/manifest.json"
    built = json.loads(manifest.read_bytes())
    built["artifacts"]["lock"]["serial"] += 1
    manifest.write_text(json.dumps(built))
    older = site.run("render", "--cluster", "a")
    assert older.returncode == 1
    assert "this kharden has the older" in older.stderr
    assert json.loads(manifest.read_bytes()) == built
    for done in (first, again, later):
        assert "PRIVATE KEY" not in done.stdout + done.stderr
        assert "AGE-SECRET" not in done.stdout + done.stderr
