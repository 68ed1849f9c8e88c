"""A member of a cluster stays in its minor version of Kubernetes and never goes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.render.programs import found

if TYPE_CHECKING:
    from pathlib import Path

PREFLIGHT = """
import json, pathlib, sys
from tests.unit.library import conftest  # Ansible then finds our module_utils
sys.path.insert(0, str(conftest.LIBRARY))
import preflight
folder = pathlib.Path(sys.argv[1])
preflight._MARKERS = (folder / "joined",)
preflight.versions.MANIFEST = folder / "kube-apiserver.yaml"
preflight.versions.KUBELET = str(folder / "kubelet")
preflight.versions.record.RECORD = str(folder / "placed.json")
wanted = {"version": sys.argv[2], "kubelet": "a" * 64}
expectations = dict.fromkeys(preflight._EXPECTATIONS) | {"kubernetes": wanted}
problems = [[problem.what, problem.remedy] for problem in preflight.problems(expectations)]
print(json.dumps({"problems": problems, "notes": preflight.remarks(expectations)}))
"""
MANIFEST = """\
spec:
  containers:
  - command:
    - kube-apiserver
    image: registry.k8s.io/kube-apiserver:v{}
    imagePullPolicy: IfNotPresent
"""


@dataclass(frozen=True)
class Machine:
    """What preflight sees of a machine."""

    folder: Path

    def joined(self) -> Machine:
        (self.folder / "joined").touch()
        return self

    def with_api_server(self, version: str) -> Machine:
        (self.folder / "kube-apiserver.yaml").write_text(MANIFEST.format(version))
        return self

    def with_kubelet(self, text: str) -> Machine:
        path = self.folder / "kubelet"
        path.write_text(f"#!/bin/sh\necho asked >> {self.folder}/asked\n{text}\n")
        path.chmod(0o755)
        return self

    def with_record(self, **kubelet: str) -> Machine:
        item = {"kind": "file", "owner": "root", "group": "root", "mode": "0755"} | kubelet
        path = str(self.folder / "kubelet")
        (self.folder / "placed.json").write_text(json.dumps({"schema": 1, "placed": {path: item}}))
        return self

    @property
    def was_asked(self) -> bool:
        return (self.folder / "asked").exists()

    def with_spoilt_api_server(self) -> Machine:
        (self.folder / "kube-apiserver.yaml").write_text("spec:\n  containers: [{image: registry.k8s.io/pause:3.10}]\n")
        return self

    def refused(self, wanted: str) -> list[list[str]]:
        problems: list[list[str]] = self.looked(wanted)["problems"]
        return problems

    def notes(self, wanted: str) -> list[str]:
        notes: list[str] = self.looked(wanted)["notes"]
        return notes

    def looked(self, wanted: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", PREFLIGHT, str(self.folder), wanted],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


MINOR = "there is no way from one minor version to another yet"
BACK = "a version never goes back"


@pytest.mark.parametrize(
    ("wanted", "why"),
    [("1.37.1", MINOR), ("1.35.8", MINOR), ("2.36.3", MINOR), ("1.36.2", BACK), ("1.36.3", ""), ("1.36.10", "")],
)
def test_a_control_plane_stays_in_its_minor_version(machine: Machine, wanted: str, why: str) -> None:
    machine.joined().with_api_server("1.36.3").with_kubelet("echo Kubernetes v1.37.1")
    remedy = "write 1.36.3, or a later version of 1.36"
    expected = [[f"it runs Kubernetes 1.36.3, and cluster.yaml says {wanted}: {why}", remedy]] if why else []
    assert machine.refused(wanted) == expected
    assert not machine.was_asked


@pytest.mark.parametrize(("wanted", "count"), [("1.37.1", 1), ("1.36.9", 1), ("1.36.10", 0), ("1.36.11", 0)])
def test_a_workers_kubelet_is_asked(machine: Machine, wanted: str, count: int) -> None:
    machine.joined().with_kubelet("echo Kubernetes v1.36.10").with_record(sha256="b" * 64)
    assert len(machine.refused(wanted)) == count
    assert machine.was_asked


def test_the_kubelet_that_is_wanted_is_not_asked(machine: Machine) -> None:
    """Where nothing is to change that would be most of what the look costs."""
    machine.joined().with_kubelet("echo Kubernetes v1.36.3").with_record(sha256="a" * 64)
    assert machine.refused("1.36.3") == []
    assert not machine.was_asked
    # A run that was cut off may have placed it or not.
    machine.with_record(sha256="a" * 64, previous="b" * 64)
    assert len(machine.refused("1.37.1")) == 1


def test_what_is_no_member_becomes_whatever_is_wanted(machine: Machine) -> None:
    machine.with_api_server("1.35.8").with_kubelet("echo Kubernetes v1.35.8")
    assert machine.refused("1.36.3") == []


@pytest.mark.parametrize(("wanted", "count"), [("1.37.1", 1), ("1.35.8", 1), ("1.36.3", 0)])
def test_where_the_api_servers_manifest_says_no_version_the_kubelet_is_asked(
    machine: Machine, wanted: str, count: int
) -> None:
    machine.joined().with_spoilt_api_server().with_kubelet("echo Kubernetes v1.36.3")
    assert len(machine.refused(wanted)) == count
    assert machine.was_asked
    assert machine.notes(wanted) == []


@pytest.mark.parametrize("text", ["exit 1", "echo v1.36.3", "printf '\\377'; exit 0"])
def test_a_member_that_tells_no_version_stops_nobody_and_is_named(machine: Machine, text: str) -> None:
    """An apply is what mends it."""
    said = "the kubelet doesn't say which version of Kubernetes runs there, so it isn't known that 1.37.1 may follow it"
    told = machine.joined().with_kubelet(text).looked("1.37.1")
    assert told == {"problems": [], "notes": [said]}
    assert (machine.folder / "asked").read_text() == "asked\n"  # once, though two want to know
    (machine.folder / "kubelet").unlink()
    assert machine.looked("1.37.1") == told
    (note,) = machine.with_spoilt_api_server().notes("1.37.1")
    assert note.startswith("neither the API server's manifest nor the kubelet says which version")


def test_a_machine_that_joins_for_the_first_time_is_not_spoken_of(machine: Machine) -> None:
    assert machine.looked("1.36.3") == {"problems": [], "notes": []}


@pytest.mark.programs
def test_the_real_kubelet_says_its_version(machine: Machine) -> None:
    programs = found()
    if "kubelet" not in programs.paths:
        pytest.skip("needs a kubelet, which `invoke test` builds")
    (machine.joined().folder / "kubelet").symlink_to(programs["kubelet"])
    ((what, _),) = machine.refused("1.99.0")
    assert what.startswith("it runs Kubernetes 1.36.3, and cluster.yaml says 1.99.0")
