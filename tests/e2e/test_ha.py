"""Three control planes and two workers: they come up, stay as they are, and miss one of them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.absence import KUBECTL, is_whole, members, power_off, probing, wait_for, wipe
from tests.e2e.sites import described, program
from tests.e2e.states import differences, of_node, state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.sites import Program

pytestmark = [pytest.mark.lab, pytest.mark.programs]

CLUSTER = "e2e-ha"
NODES = ("cp1", "cp2", "cp3", "w1", "w2")
SERVERS = ("10.83.0.11", "10.83.0.12", "10.83.0.13")
ALL_VOTE = {"cp1": True, "cp2": True, "cp3": True}
# How long the API may be away where one of three is lost: until a balancer has seen it, and a leader was elected.
LONGEST_GAP = 30.0


@pytest.fixture(scope="module")
def kharden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Five nodes that have booted."""
    with program(tmp_path_factory.mktemp("site"), CLUSTER, cluster=described(CLUSTER, "10.83.0", "lab")) as run:
        run("lab.up", "--yes")
        yield run


@pytest.fixture(scope="module")
def bootstrapped(kharden: Program) -> float:
    """Seconds from there to a cluster."""
    begun = time.monotonic()
    kharden("render", "apply", "--yes")
    return time.monotonic() - begun


@pytest.fixture
def cluster(kharden: Program, bootstrapped: float) -> Program:
    assert bootstrapped
    return kharden


def report(cluster: Program) -> dict[str, Any]:
    newest = max((cluster.site / "evidence" / CLUSTER).iterdir())
    document: dict[str, Any] = json.loads((newest / "report.json").read_text(encoding="utf-8"))
    return document


def test_five_nodes_come_up(cluster: Program, bootstrapped: float, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n3 + 2 came up in {bootstrapped:.0f} s\n")
    assert is_whole(cluster, "cp3")
    assert members(cluster, "cp2") == ALL_VOTE
    listed = json.loads(cluster.node("cp1", f"{KUBECTL} get nodes --output=json"))["items"]
    zones = {one["metadata"]["name"]: one["metadata"]["labels"]["topology.kubernetes.io/zone"] for one in listed}
    assert zones == {"cp1": "a", "cp2": "b", "cp3": "c", "w1": "a", "w2": "b"}
    pods = json.loads(cluster.node("cp1", f"{KUBECTL} -n kube-system get pods --selector=k8s-app=kube-dns -o json"))
    assert len({pod["spec"]["nodeName"] for pod in pods["items"]}) == 2


@pytest.mark.parametrize("name", ["cp1", "cp2", "cp3"])
def test_a_control_plane_talks_to_itself_and_keeps_nothing_of_its_join(cluster: Program, name: str) -> None:
    server = f"server: https://10.83.0.1{name[-1]}:6443"
    assert server in cluster.node(name, "cat /etc/kubernetes/kubelet.conf")
    left = (
        "ls /etc/kubernetes/super-admin.conf /etc/kubernetes/bootstrap-kubelet.conf /run/kharden/* 2> /dev/null || true"
    )
    assert cluster.node(name, left) == ""
    tokens = f"{KUBECTL} -n kube-system get secrets --field-selector=type=bootstrap.kubernetes.io/token --output=name"
    assert cluster.node(name, tokens) == ""
    assert cluster.node(name, "find /etc/kubernetes/manifests -type f -not -perm 0600") == ""


def test_a_second_apply_changes_nothing_and_verify_passes(cluster: Program) -> None:
    before = state(cluster.node, NODES)
    assert all(before[name]["starts"] for name in NODES)
    assert "nothing to change" in cluster("apply", "--yes")
    assert state(cluster.node, NODES) == before
    cluster("verify")


BALANCER = "journalctl --identifier=haproxy --output=cat 2> /dev/null || true"
MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"


@pytest.mark.parametrize("kind", ["its node", "its etcd"])
def test_the_api_goes_on_without_one_control_plane(
    cluster: Program, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    wait_for(lambda: is_whole(cluster, "cp3"), "all is well before")
    cluster.node("w1", "journalctl --rotate && journalctl --vacuum-time=1s")
    with probing(cluster) as probe:
        if kind == "its node":
            power_off(CLUSTER, "cp1")
        else:
            cluster.node("cp1", f"mv {MANIFEST} /root/etcd.yaml; while pgrep -x etcd > /dev/null; do sleep 0.2; done")
        wait_for(lambda: "control-planes/cp1 is DOWN" in cluster.node("w1", BALANCER), "the balancer has seen it")
        probe.go_on()
        probe.end()
    with capsys.disabled():
        reads, writes = probe.gaps["GET"], probe.gaps["PATCH"]
        sys.stdout.write(f"\nwithout {kind}: reads away for {reads:.1f} s, writes {writes:.1f} s\n")
    if kind == "its node":
        # An apply would start it.
        assert "cp1: Look at the machine, change nothing: can't be reached" in cluster.refused("plan")
        cluster("lab.up", "--yes")
    else:
        cluster.node("cp1", f"mv /root/etcd.yaml {MANIFEST}")
    assert max(probe.gaps.values()) < LONGEST_GAP
    wait_for(lambda: is_whole(cluster, "cp3"), "all is well again")
    cluster("verify")


@pytest.mark.long
def test_with_a_control_plane_away_only_what_is_of_it_is_unknown(cluster: Program) -> None:
    power_off(CLUSTER, "cp1")
    try:
        told = cluster("verify", status=2)
        unknown = [line for line in told.splitlines() if line.startswith("unknown")]
        assert len(unknown) == 1, told
        assert unknown[0].startswith("unknown  cp1 can't be reached (")
        assert report(cluster)["summary"].get("fail", 0) == 0
        verdicts = {control["id"]: control["verdict"] for control in report(cluster)["controls"]}
        # Whoever is asked knows that, so nobody has to be asked who is away.
        assert {verdicts[name] for name in ("node-marks", "namespaces-pod-security", "bootstrap-tokens-absent")} == {
            "pass"
        }
    finally:
        cluster("lab.up", "--yes")
    wait_for(lambda: is_whole(cluster, "cp3"), "all is well again")


@pytest.mark.long
def test_a_control_plane_that_was_lost_joins_again(cluster: Program) -> None:
    wipe(CLUSTER, "cp1")  # the first one: it must not make a cluster of its own
    cluster("lab.up", "--yes")
    assert "cp1: Join the cluster with this control plane" in cluster("plan", status=2)
    told = cluster("apply", "--yes")
    assert "cp1: Etcd can take a member: changed" in told
    assert members(cluster, "cp2") == ALL_VOTE
    assert is_whole(cluster, "cp1")
    assert "nothing to change" in cluster("apply", "--yes")


@pytest.mark.long
@pytest.mark.parametrize("begun", ["manifests/kube-apiserver.yaml", "manifests/etcd.yaml", "kubelet.conf"])
def test_a_join_that_is_cut_off_is_finished(cluster: Program, begun: str) -> None:
    wipe(CLUSTER, "cp3")
    cluster("lab.up", "--yes")
    process = cluster.started("apply", "--yes", stdout=subprocess.DEVNULL)
    there = f"test -e /etc/kubernetes/{begun} && echo there || true"
    wait_for(lambda: cluster.node("cp3", there) == "there\n", begun, 900)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    cluster.node("cp3", "pkill --signal KILL --exact kubeadm || true")
    assert cluster.node("cp3", "ls /var/lib/kharden/joined 2> /dev/null || true") == ""
    cluster("apply", "--yes", "--break-lock")  # a run that is killed leaves the cluster's lock
    assert members(cluster, "cp1") == ALL_VOTE
    assert is_whole(cluster, "cp3")
    assert "nothing to change" in cluster("apply", "--yes")


def cluster_yaml(cluster: Program) -> Path:
    return cluster.site / "inventories" / CLUSTER / "cluster.yaml"


def started(cluster: Program, name: str, of: str) -> list[str]:
    """When the processes of a program started on a node, in ticks since boot."""
    starts: dict[str, str] = of_node(cluster.node, name)["starts"]
    return sorted(start for process, start in starts.items() if process.split()[0] == of)


@pytest.mark.long
def test_one_api_server_restarts_at_a_time_and_joins_get_what_is_new(cluster: Program) -> None:
    wait_for(lambda: is_whole(cluster, "cp3"), "all is well before")
    path = cluster_yaml(cluster)
    text = path.read_text(encoding="utf-8")
    assert "  audit:" not in text
    # A scheduler that loses its lease while its API server restarts ends by itself.
    others = {(name, of): started(cluster, name, of) for name in NODES for of in ("etcd", "kubelet")}
    before = {name: started(cluster, name, "kube-apiserver") for name in NODES[:3]}
    path.write_text(text.replace("spec:\n", "spec:\n  audit: {maxAgeDays: 31}\n", 1), encoding="utf-8")
    cluster("render")
    planned = cluster("plan", status=2)
    assert "ConfigMap/kube-system/kubeadm-config" in planned
    with probing(cluster, *SERVERS) as probe:
        cluster("apply", "--yes")
        probe.end()
    away = sorted(span for spans in probe.away.values() for span in spans)
    assert {server for server, spans in probe.away.items() if spans} == set(SERVERS)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(away)), away
    assert max(probe.gaps.values()) < LONGEST_GAP
    assert all(started(cluster, name, "kube-apiserver") != start for name, start in before.items())
    assert {what: started(cluster, *what) for what in others} == others
    kept = cluster.node("cp2", f"{KUBECTL} -n kube-system get configmap kubeadm-config --output=yaml")
    assert 'name: audit-log-maxage\n        value: "31"' in kept
    assert "nothing to change" in cluster("plan")


KUBELET = "/var/lib/kubelet/config.yaml"


@pytest.mark.long
def test_a_worker_that_fails_stops_the_run_before_the_next_one_unless_one_may(cluster: Program) -> None:
    """A change of every kubelet, and w1 is where it can't be made: its balancer may not be started."""
    wait_for(lambda: is_whole(cluster, "cp3"), "all is well before")
    path = cluster_yaml(cluster)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("spec:\n", "spec:\n  kubelet: {containerLogMaxFiles: 4}\n", 1), encoding="utf-8")
    cluster("render")
    cluster.node("w1", "systemctl mask haproxy.service")
    before = {name: of_node(cluster.node, name) for name in NODES}
    kubelets = {name: started(cluster, name, "kubelet") for name in NODES}
    try:
        said = cluster.refused("apply", "--yes", "--wave", "1")
        assert "stopped, since 1 worker failed and 0 may: w1; not begun: w2" in said
        assert "w1: Run services: haproxy.service: is masked" in said
        assert differences(before["w2"], of_node(cluster.node, "w2")) == []
        assert changed_kubelets(cluster, kubelets) == ["cp1", "cp2", "cp3"]
        controls = {name: of_node(cluster.node, name) for name in NODES[:3]}

        said = cluster.refused("apply", "--yes", "--wave", "1", "--max-fail", "1")
        assert "1 worker failed, and all others are done: w1" in said
        assert "not begun" not in said
        assert changed_kubelets(cluster, kubelets) == ["cp1", "cp2", "cp3", "w2"]
        assert "containerLogMaxFiles: 4" in cluster.node("w2", f"cat {KUBELET}")
        assert "containerLogMaxFiles: 4" not in cluster.node("w1", f"cat {KUBELET}")
        done = {name: of_node(cluster.node, name) for name in NODES if name != "w1"}
        assert differences(controls, {name: done[name] for name in controls}) == []
    finally:
        cluster.node("w1", "systemctl unmask haproxy.service")
    cluster("apply", "--yes", "--wave", "1")
    assert changed_kubelets(cluster, kubelets) == list(NODES)
    assert "containerLogMaxFiles: 4" in cluster.node("w1", f"cat {KUBELET}")
    assert differences(done, {name: of_node(cluster.node, name) for name in done}) == []
    assert "nothing to change" in cluster("plan")


def changed_kubelets(cluster: Program, before: dict[str, list[str]]) -> list[str]:
    """The nodes whose kubelet has started since."""
    return [name for name in NODES if started(cluster, name, "kubelet") != before[name]]


@pytest.mark.long
def test_a_flag_that_stops_an_api_server_stops_the_run(cluster: Program) -> None:
    """No cluster.yaml asks for one, so what was rendered is changed, and its manifest with it."""
    wait_for(lambda: is_whole(cluster, "cp3"), "all is well before")
    manifests = {name: cluster.node(name, "cat /etc/kubernetes/manifests/*.yaml") for name in NODES[:3]}
    before = {name: started(cluster, name, "kube-apiserver") for name in NODES[:3]}
    configuration = f"{KUBECTL} -n kube-system get configmap kubeadm-config --output=yaml"
    kept = cluster.node("cp2", configuration)
    build = cluster.site / "build" / CLUSTER
    listed = json.loads((build / "manifest.json").read_text(encoding="utf-8"))
    for name in NODES[:3]:
        rendered = build / "nodes" / name / "files/etc/kharden/kubeadm/init.yaml"
        text = rendered.read_text(encoding="utf-8")
        changed = text.replace(
            'name: "profiling"\n      value: "false"', 'name: "profiling"\n      value: "perhaps"', 1
        )
        assert changed != text
        rendered.write_text(changed, encoding="utf-8")
        (entry,) = [one for one in listed["nodes"][name]["files"] if one["path"].endswith("kubeadm/init.yaml")]
        entry["sha256"] = hashlib.sha256(changed.encode()).hexdigest()
        entry["size"] = len(changed.encode())
    (build / "manifest.json").write_text(json.dumps(listed), encoding="utf-8")
    try:
        with probing(cluster, *SERVERS) as probe:
            said = cluster.refused("apply", "--yes")
            probe.end()
        assert "cp1: Static pods of the control plane: static pod kube-apiserver" in said
        assert "the old /etc/kubernetes/manifests/kube-apiserver.yaml is back and kube-apiserver answers" in said
        assert [server for server, spans in probe.away.items() if spans] == [SERVERS[0]]
        assert max(probe.gaps.values()) < LONGEST_GAP
        after = {name: started(cluster, name, "kube-apiserver") for name in NODES[:3]}
        assert [name for name in after if after[name] != before[name]] == ["cp1"]
        assert {name: cluster.node(name, "cat /etc/kubernetes/manifests/*.yaml") for name in manifests} == manifests
        assert cluster.node("cp2", configuration) == kept
    finally:
        cluster("render")
        cluster("apply", "--yes")
    assert "nothing to change" in cluster("plan")
