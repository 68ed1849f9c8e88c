"""A plan to trust: it writes nothing, is what apply then does, restarts what a change concerns alone, may be kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.states import differences, wait_until_steady, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.conftest import Node, Run, Site

pytestmark = [pytest.mark.lab, pytest.mark.programs]

NODES = ("cp1", "w1")
KUBECTL = "KUBECONFIG=/etc/kubernetes/admin.conf kubectl"
API = "static-pod/kube-apiserver"
ACCEPT = "net.ipv4.conf.all.accept_redirects"
LEADERS = {("cp1", "kube-controller-manager"), ("cp1", "kube-scheduler")}
BALANCER = "/etc/haproxy/haproxy.cfg"


@pytest.fixture
def ask(kharden: Run, node: Node) -> Callable[[str, str, str], str]:
    assert node
    return lambda name, command, text: kharden("lab.shell", name, "--command", command, text=text).stdout


class Spec:
    """cluster.yaml with more and more in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first = path.read_text(encoding="utf-8")
        self.more: dict[str, str] = {}

    def set(self, **sections: str) -> None:
        """Sections that are there besides from now on."""
        self.more |= sections
        lines = "".join(f"  {name}: {value}\n" for name, value in self.more.items())
        assert "  lab: {}\n" in self.first
        self.path.write_text(self.first.replace("  lab: {}\n", f"  lab: {{}}\n{lines}"), encoding="utf-8")


@pytest.fixture(scope="module")
def spec(site: Site, kharden: Run, node: Node) -> Iterator[Spec]:
    """In the end it is what it was, and so are the nodes."""
    assert node
    spec = Spec(site.root / "inventories" / site.cluster / "cluster.yaml")
    yield spec
    spec.path.write_text(spec.first, encoding="utf-8")
    kharden("render")
    kharden("apply", "--yes")


def told(document: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(document)
    return answer


def order(document: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(one["order"], one["node"], one["what"]) for one in document["restarts"]]


def tasks(document: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted((one["node"], one["task"]) for one in document["changes"])


def restarted(before: dict[str, Any], after: dict[str, Any]) -> set[tuple[str, str]]:
    """Which programs of which node run since another time."""
    return {
        (name, process.split()[0])
        for name in NODES
        for process, start in after[name]["starts"].items()
        if before[name]["starts"].get(process) != start
    }


# What is changed, in cluster.yaml or by hand → what restarts, and the programs that run since another time then.
CHANGES: dict[str, tuple[dict[str, str], dict[str, str], list[tuple[int, str, str]], set[tuple[str, str]]]] = {
    "audit policy": ({"audit": "{layers: [reads, contents]}"}, {}, [(1, "cp1", API)], {("cp1", "kube-apiserver")}),
    "kubelet": (
        {"kubelet": "{containerLogMaxFiles: 4}"},
        {},
        [(1, "cp1", "kubelet.service"), (2, "w1", "kubelet.service")],
        {("cp1", "kubelet"), ("w1", "kubelet")},
    ),
    "by hand": (
        {},
        {
            "cp1": f"sysctl --quiet --write {ACCEPT}=1; chmod 0644 /etc/kubernetes/admin.conf",
            "w1": f"sysctl --quiet --write {ACCEPT}=1; echo '# by hand' >> {BALANCER}",
        },
        [(1, "w1", "haproxy.service")],
        {("w1", "haproxy")},
    ),
    "objects": ({}, {"cp1": f"{KUBECTL} --namespace=default delete networkpolicy --all"}, [], set()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_plan_writes_nothing_and_is_what_apply_then_does(  # noqa: PLR0917  # fixtures
    kharden: Run, node: Node, ask: Callable[[str, str, str], str], spec: Spec, tmp_path: Path, change: str
) -> None:
    sections, by_hand, restarts, programs = CHANGES[change]
    spec.set(**sections)
    kharden("render")
    for name, command in by_hand.items():
        node(name, command)
    wait_until_steady(ask)
    before = whole(ask, NODES)
    saved = tmp_path / "plan.json"
    planned = told(kharden("plan", "--json", "--out", str(saved), status=2).stdout)
    shown = kharden("plan", status=2).stdout if change == "audit policy" else ""
    assert differences(before, whole(ask, NODES)) == []
    assert order(planned) == restarts
    if shown:
        assert f"Restarts, in this order:\n  1. cp1: {API} (its API is away for about " in shown
    assert saved.stat().st_mode & 0o7777 == 0o600
    assert "PRIVATE KEY" not in saved.read_text(encoding="utf-8") + shown
    done = told(kharden("apply", "--yes", "--plan", str(saved), "--json").stdout)
    assert order(done) == order(planned)
    after = whole(ask, NODES)
    # With one control plane an API that is away for long costs leaders their lease, and they begin anew.
    lost = LEADERS if any(what == API for _, _, what in restarts) else set()
    assert programs <= restarted(before, after) <= programs | lost
    assert tasks(done) == tasks(planned)
    assert "nothing to change" in kharden("plan").stdout
    if any(what == API for _, _, what in restarts):
        # The figure of the next plan is what was seen this time.
        (away,) = [one for one in done["restarts"] if one["what"] == API]
        assert (0 < away["api_away_seconds"] < 120, away["reason"]) == (True, "measured")
        spec.set(audit="{layers: [reads]}")
        kharden("render")
        (next_time,) = [
            one for one in told(kharden("plan", "--json", status=2).stdout)["restarts"] if one["what"] == API
        ]
        assert next_time["api_away_seconds"] == away["api_away_seconds"]
        assert next_time["reason"] == "as it took there before"
        spec.set(**sections)
        kharden("render")


def test_a_plan_of_nodes_that_moved_on_is_refused(
    kharden: Run, node: Node, ask: Callable[[str, str, str], str], spec: Spec, tmp_path: Path
) -> None:
    saved = str(tmp_path / "plan.json")
    node("cp1", "chmod 0644 /etc/kubernetes/admin.conf")
    kharden("plan", "--out", saved, status=2)
    node("w1", f"echo '# by hand' >> {BALANCER}")
    wait_until_steady(ask)
    before = whole(ask, NODES)
    said = kharden("apply", "--yes", "--plan", saved, status=1).stderr
    assert "kharden: w1: has moved on since the plan of " in said
    assert f"update {BALANCER} has come" in said
    assert "nothing was changed; look at a new plan" in said
    assert differences(before, whole(ask, NODES)) == []
    kharden("plan", "--out", saved, status=2)
    spec.set(kubelet="{containerLogMaxFiles: 6}")
    kharden("render")
    said = kharden("apply", "--yes", "--plan", saved, status=1).stderr
    assert "the build was rendered anew since this plan: look at a new plan" in said
    assert differences(before, whole(ask, NODES)) == []
    said = kharden("apply", "--yes", "--plan", saved, "--limit", "cp1", status=1).stderr
    assert "--limit and --plan: the plan says that itself" in said
    kharden("apply", "--yes")


def test_a_run_for_some_nodes_and_phases_leaves_the_rest(
    kharden: Run, node: Node, ask: Callable[[str, str, str], str], spec: Spec
) -> None:
    assert spec
    for name in ("cp1", "w1"):
        node(name, f"sysctl --quiet --write {ACCEPT}=1; chmod 0640 {BALANCER}")
    node("cp1", f"{KUBECTL} --namespace=default delete networkpolicy --all")
    before = whole(ask, NODES)
    for option, value in (("--limit", "w2"), ("--tags", "hots"), ("--wave", "none"), ("--max-fail", "x")):
        said = kharden("apply", "--yes", option, value, status=1).stderr
        assert (len(said.splitlines()), said.startswith(f"kharden: {option}")) == (1, True), said
    assert {one["node"] for one in told(kharden("plan", "--limit", "w1", "--json", status=2).stdout)["changes"]} == {
        "w1"
    }
    assert differences(before, whole(ask, NODES)) == []
    told_so = kharden("apply", "--yes", "--limit", "w1").stdout
    assert "objects of the cluster were left as they are, since no control plane is in --limit" in told_so
    assert f"{ACCEPT} = 1" in node("cp1", f"sysctl {ACCEPT}")
    assert f"{ACCEPT} = 0" in node("w1", f"sysctl {ACCEPT}")
    kharden("apply", "--yes", "--tags", "manifests")
    assert f"{ACCEPT} = 1" in node("cp1", f"sysctl {ACCEPT}")
    assert node("cp1", f"{KUBECTL} --namespace=default get networkpolicy --output=name") != ""
    # A node that is away and isn't meant stops nobody; one that is meant does, before anything is touched.
    node("w1", "systemctl stop ssh")
    try:
        assert "w1:" not in kharden("apply", "--yes", "--limit", "cp1").stdout  # a worker isn't even asked
        assert f"{ACCEPT} = 0" in node("cp1", f"sysctl {ACCEPT}")
    finally:
        node("w1", "systemctl start ssh")
    assert "nothing to change" in kharden("plan").stdout


def test_a_worker_that_fails_stops_as_many_as_were_said(kharden: Run, node: Node, spec: Spec) -> None:
    assert spec
    node("w1", "systemctl mask haproxy.service")
    node("cp1", f"chmod 0640 {BALANCER}")
    try:
        said = kharden("apply", "--yes", "--wave", "1", status=1).stderr
        assert "stopped, since 1 worker failed and 0 may: w1" in said
        assert "w1: Run services: haproxy.service: is masked" in said
        node("cp1", f"chmod 0640 {BALANCER}; {KUBECTL} --namespace=default delete networkpolicy --all")
        said = kharden("apply", "--yes", "--wave", "100%", "--max-fail", "1", status=1).stderr
        assert "1 worker failed, and all others are done: w1" in said
        assert node("cp1", f"stat --format=%a {BALANCER}") == "644\n"
        assert node("cp1", f"{KUBECTL} --namespace=default get networkpolicy --output=name") != ""
    finally:
        node("w1", "systemctl unmask haproxy.service")
    assert "nothing to change" in kharden("plan").stdout


# --- what is no longer listed

ROUTES = "kharden-routes.service"
NETWORK = "/etc/cni/net.d/10-kharden.conflist"
# Unit, its file and its link, and what it set in the kernel; and the file that has no unit.
LEFT = f"""
systemctl show --property=LoadState,ActiveState {ROUTES}
find /etc/systemd/system -name '{ROUTES}*' | sort
ip route show proto 107
ls /etc/cni/net.d
"""
NOTHING_LEFT = "LoadState=not-found\nActiveState=inactive\n"


def test_what_kharden_placed_and_no_longer_lists_goes_with_the_unit_that_ran(
    kharden: Run, node: Node, spec: Spec
) -> None:
    before = {name: node(name, LEFT) for name in NODES}
    for shown in before.values():
        assert shown.startswith("LoadState=loaded\nActiveState=active\n/etc/systemd/system/kharden-routes.service\n")
        assert "/etc/systemd/system/multi-user.target.wants/kharden-routes.service\n" in shown
        assert " via 10.82.0." in shown
    node("w1", f"touch {NETWORK}.somebodys")
    first = spec.first
    try:
        spec.first = first.replace("    podCIDRs: ", "    plugin: none\n    podCIDRs: ")
        assert spec.first != first
        spec.set()
        kharden("render")
        planned = kharden("plan", status=2).stdout
        for told_so in (f"remove {NETWORK}", f"remove /etc/systemd/system/{ROUTES}", f"stop {ROUTES}"):
            assert planned.count(told_so) == 2, planned
        assert node("cp1", LEFT) == before["cp1"]
        kharden("apply", "--yes")
        assert node("cp1", LEFT) == NOTHING_LEFT
        assert node("w1", LEFT) == f"{NOTHING_LEFT}10-kharden.conflist.somebodys\n"
        assert "nothing to change" in kharden("plan").stdout
        assert "nothing to change" in kharden("apply", "--yes").stdout
    finally:
        node("w1", f"rm {NETWORK}.somebodys")
        spec.first = first
        spec.set()
    kharden("render")
    kharden("apply", "--yes")
    assert {name: node(name, LEFT) for name in NODES} == before
