"""A run that is cut off at each boundary of its phases, on the way to a cluster and on the way to another one:
`invoke test --all`. Whatever ends it, the next run goes on, or says in one line what stands in its way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from kharden.lab.machine import find_machine
from tests.e2e.sites import Program, described, program
from tests.faults.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.lab, pytest.mark.programs]

CLUSTER = "e2e-cut"
SITE = yaml.safe_load((Path(__file__).parents[2] / "playbooks/site.yml").read_text(encoding="utf-8"))
# A phase for machines that this cluster hasn't is passed over: a run that waited for it would be whole.
PHASES = [phase["name"] for phase in SITE if phase["name"] != "Machines of etcd"]
CONTROL_PLANE = {"First control plane", "Control planes", "Cluster DNS", "Cluster manifests", "Health"}
ENDS = ["SIGINT", "SIGKILL", "power"]
# What a change touches: objects, static pods, kubelets, and the firewall.
CHANGE = """\
    - name: more
  audit: {maxAgeDays: 45}
  kubelet: {containerLogMaxFiles: 4}
  access: {nodePorts: [10.95.0.1/32]}
  network:
"""


@pytest.fixture(scope="module", params=range(len(ENDS)))
def ends(request: pytest.FixtureRequest) -> Callable[[int], str]:
    """What happens at a boundary: all three in turn, so that three clusters have seen each at every one."""
    return lambda place: ENDS[(place + request.param) % len(ENDS)]


@pytest.fixture(scope="module")
def kharden(tmp_path_factory: pytest.TempPathFactory, ends: Callable[[int], str]) -> Iterator[Program]:
    assert ends(0)
    with program(tmp_path_factory.mktemp("site"), CLUSTER, cluster=described(CLUSTER, "10.95.0")) as made:
        made("lab.up", "--yes")
        made("render")
        yield made


def begun(kharden: Program, log: Path, *more: str) -> subprocess.Popen[str]:
    environment = os.environ | {"KHARDEN_CLUSTER": CLUSTER, "KHARDEN_IDENTITY": f"{kharden.site}/identity/"}
    with log.open("w") as output:
        return subprocess.Popen(
            [Path(sys.executable).with_name("kharden"), "apply", "--yes", *more],
            cwd=kharden.site,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def goes_on(kharden: Program, log: Path, before: str) -> subprocess.Popen[str]:
    """The next run; after a killed one it first says what stands in its way. What that began on a node ends there."""
    kharden("lab.up", "--yes")
    for node in ("cp1", "w1"):
        kharden.node(node, "[ ! -d /var/lib/kharden ] || flock --timeout 600 /var/lib/kharden true")
    if before != "SIGKILL":
        return begun(kharden, log)
    assert begun(kharden, log).wait(900) == 1
    assert " was cut off and has left the cluster's lock (" in log.read_text(encoding="utf-8")
    return begun(kharden, log, "--break-lock")


def power_off(name: str) -> None:
    """As if its plug was pulled: nothing is told to end."""
    machine = find_machine(CLUSTER, name)
    assert machine is not None
    assert machine.leader is not None
    os.kill(machine.pid, signal.SIGKILL)
    os.kill(machine.leader, signal.SIGKILL)
    wait_for(lambda: find_machine(CLUSTER, name) is None, f"{name} is off", 60)


def cut_off(process: subprocess.Popen[str], log: Path, phase: str, end: str) -> str:
    """End a run where that phase begins, see what it says, and tell how it ended."""
    wait_for(lambda: process.poll() is not None or f" s {phase}\n" in log.read_text(encoding="utf-8"), phase, 900)
    if process.poll() is not None:  # a phase without anything to do may be passed over
        assert process.returncode == 0, log.read_text(encoding="utf-8")
        return ""
    if end == "power":
        power_off("cp1" if phase in CONTROL_PLANE else "w1")
    else:
        os.killpg(process.pid, getattr(signal, end))
    status = process.wait(900)
    said = log.read_text(encoding="utf-8")
    assert "Traceback" not in said
    if end == "SIGINT":
        assert (status, "kharden: it was interrupted: apply again" in said) == (1, True), said
    elif end == "power" and status:  # what is left may have nothing to do with that node
        assert "kharden: " in said, said
    return end


def series(kharden: Program, folder: Path, ends: Callable[[int], str]) -> None:
    """A run is cut off at each boundary, and the last one does what is left.

    What a phase is for is still to be done where the run before was cut off as it began, so each has its boundary,
    unless a run from which a node was taken needed nothing more of it, and did all the rest.
    """
    before = ""
    done = False
    passed_over = []
    for place, phase in enumerate(PHASES):
        process = goes_on(kharden, folder / "log", before)
        before = cut_off(process, folder / "log", phase, ends(place))
        passed_over += [] if before or done else [phase]
        done |= before == "power" and process.returncode == 0
    assert passed_over == []
    last = goes_on(kharden, folder / "log", before)
    assert last.wait(900) == 0, (folder / "log").read_text(encoding="utf-8")
    assert "nothing to change" in kharden("apply", "--yes")
    assert "nothing to change" in kharden("plan")
    kharden("verify")


def test_a_bootstrap_that_is_cut_off_again_and_again_ends_in_a_cluster(
    kharden: Program, ends: Callable[[int], str], tmp_path: Path
) -> None:
    series(kharden, tmp_path, ends)


def test_a_change_that_is_cut_off_again_and_again_is_made(
    kharden: Program, ends: Callable[[int], str], tmp_path: Path
) -> None:
    path = kharden.site / "inventories" / CLUSTER / "cluster.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("  network:\n", CHANGE), encoding="utf-8")
    kharden("render")
    series(kharden, tmp_path, ends)
    assert "--audit-log-maxage=45" in kharden.node("cp1", "cat /etc/kubernetes/manifests/kube-apiserver.yaml")
