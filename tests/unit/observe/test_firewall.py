"""What the firewall must say, against what nft makes of the rendered rules and of rules that were changed by hand."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kharden.controls import control
from kharden.controls.checks import Reach
from kharden.observe.attempts import is_admitted, metadata_attempts, reach_attempts
from kharden.observe.collector import pod, reach
from kharden.observe.examine import examine
from kharden.observe.examine.view import View
from kharden.observe.host import SnapshotHost
from kharden.observe.request import attempts
from kharden.observe.witnesses import everybody
from tests.unit.plan.planner import NETWORKS, Planner
from tests.unit.ports import free_port
from tests.unit.render.stand_ins import rendered

if TYPE_CHECKING:
    from kharden.observe.facts import Snapshot
    from kharden.observe.model import Observation
    from kharden.plan.model import ClusterPlan, NodePlan

PATH = os.pathsep.join(("/usr/sbin", "/sbin", os.environ.get("PATH", "")))
LIST = "nft --json --stateless list table inet kharden"


def listed(rules: Path, change: str = "") -> dict[str, Any]:
    """What nft lists after it has loaded these rules, in a network namespace of its own, and `change`."""
    if os.geteuid() != 0 or not shutil.which("nft", path=PATH):
        pytest.skip("needs root and nft: apt-get install nftables")
    done = subprocess.run(
        ["unshare", "--net", "sh", "-euc", f'nft --file "$0"\n{change}\n{LIST}', rules],
        env={"PATH": PATH},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    items = json.loads(done.stdout)["nftables"]
    return {
        "tables": ["inet kharden", "ip kube-proxy", "ip6 kube-proxy"],
        "chains": [item["chain"] for item in items if "chain" in item],
        "rules": [item["rule"] for item in items if "rule" in item],
    }


def judged(plan: ClusterPlan, node: NodePlan, snapshot: Snapshot, facts: object) -> tuple[Observation, ...]:
    snapshot.nodes[node.name]["firewall"] = facts  # type: ignore[index]  # the fixture's own copy
    host = SnapshotHost(snapshot.facts(node.name))
    return examine(control("firewall-rules"), View(plan, node, snapshot, host, {}, {}))


@pytest.mark.programs
@pytest.mark.parametrize("networks", NETWORKS)
def test_the_rendered_rules_say_what_they_must(tmp_path: Path, snapshot: Snapshot, networks: str) -> None:
    folder = tmp_path / "test"
    folder.mkdir()
    plan = Planner(folder)(
        offsets=(11, 12, 13, 21, 22),
        control_planes=3,
        networks=networks,
        access={"api": ["198.51.100.0/25", "2001:db8:9::/48"], "nodePorts": ["0.0.0.0/0", "2001:db8:9::/48"]},
    )
    for node in rendered(plan).nodes:
        rules = tmp_path / node.node
        rules.write_bytes(next(file.content for file in node.files if file.path == "/etc/nftables.d/kharden.nft"))
        (own,) = (each for each in plan.nodes if each.name == node.node)
        snapshot.nodes[own.name] = {}  # type: ignore[index]  # the fixture's own copy
        wrong = [one for one in judged(plan, own, snapshot, listed(rules)) if not one.ok]
        assert wrong == []


CHANGES = [
    ("nft insert rule inet kharden input accept", "unexpected: : accept"),
    ("nft add rule inet kharden input tcp dport 31337 accept", "unexpected: tcp dport 31337: accept"),
    ("nft insert rule inet kharden input tcp dport '>= 22' accept", "unexpected: tcp dport >= 22: accept"),
    ("nft insert rule inet kharden forward ip saddr 10.9.0.0/16 counter accept", "unexpected: ip saddr 10.9.0.0/16"),
    ("nft flush chain inet kharden forward", "missing: ip daddr 169.254.169.254/32: drop"),
    ("nft flush chain inet kharden before-translation", "missing: iif lo: accept"),
    ("nft chain inet kharden input '{ policy accept; }'", "input, priority 0, accept"),
    ("nft delete table inet kharden; nft add table inet kharden", "there is none"),
    ("nft add chain inet kharden way-round", "way-round"),
    ("nft insert rule inet kharden input iif lo accept", "another order, or one twice"),
]


@pytest.mark.programs
@pytest.mark.parametrize(("change", "sign"), CHANGES)
def test_a_change_by_hand_is_seen(
    tmp_path: Path, plan: ClusterPlan, snapshot: Snapshot, change: str, sign: str
) -> None:
    rules = tmp_path / "kharden.nft"
    files = next(node.files for node in rendered(plan).nodes if node.node == "w1")
    rules.write_bytes(next(file.content for file in files if file.path == "/etc/nftables.d/kharden.nft"))
    worker = plan.workers[0]
    assert all(one.ok for one in judged(plan, worker, snapshot, listed(rules)))
    wrong = [one.observed for one in judged(plan, worker, snapshot, listed(rules, change)) if not one.ok]
    assert sign in " ".join(wrong)


@pytest.mark.parametrize(
    "facts",
    [
        {"tables": [], "chains": [7], "rules": []},
        {"tables": [], "chains": [], "rules": [{"chain": "input"}]},
        {"tables": [], "chains": [], "rules": [{"chain": "input", "expr": [{}]}]},
        {"tables": [], "chains": [], "rules": [{"chain": "input", "expr": [{"match": {"op": "==", "left": {}}}]}]},
        {"error": "nft: not found"},
        "nothing",
    ],
)
def test_what_cant_be_read_is_unknown(plan: ClusterPlan, snapshot: Snapshot, facts: object) -> None:
    assert {one.ok for one in judged(plan, plan.workers[0], snapshot, facts)} == {None}


# --- attempts


def test_every_port_is_tried_from_every_kind_of_place(planned: Planner) -> None:
    plan = planned(offsets=(11, 12, 13, 21, 22), control_planes=3)
    tried = list(reach_attempts(everybody(plan), plan.nodes[3], 10250, Reach(10250)))
    assert [attempt.text for attempt in tried] == [
        "from the controller to 192.0.2.21:10250",
        "from n13 to 192.0.2.21:10250",
        "from n22 to 192.0.2.21:10250",
        "from a pod of n21 to 192.0.2.21:10250",
        "from a pod of n13 to 192.0.2.21:10250",
    ]
    seen = ["192.0.2.1", "", "", "", ""]
    admitted = [is_admitted(plan, plan.nodes[3], one, Reach(10250), at) for one, at in zip(tried, seen, strict=True)]
    assert admitted == [False, True, False, False, False]


def test_every_port_is_tried_at_an_address_of_each_family(planned: Planner) -> None:
    plan = planned(networks="IPv6 and IPv4")
    first, worker = plan.nodes
    tried = list(reach_attempts(everybody(plan), first, 6443, Reach(6443)))
    assert [attempt.text for attempt in tried] == [
        f"from {origin} to {where}:6443"
        for where in ("[2001:db8:1::b]", "192.0.2.11")
        for origin in ("the controller", "n21", "a pod of n11", "a pod of n21")
    ]
    # The asker's own address is the one of the family that it speaks.
    own = [attempt for attempt in tried if attempt.asker == worker and attempt.origin == "node"]
    assert [is_admitted(plan, first, attempt, Reach(6443), "") for attempt in own] == [True, True]
    assert worker.address_of(4) == ip_address("192.0.2.21")
    published = list(reach_attempts(everybody(plan), first, 30000, Reach(30000, published=True)))
    assert [str(attempt.host) for attempt in published] == ["2001:db8:1::b", "192.0.2.11"]


@pytest.mark.parametrize(
    ("outcome", "right"), [("connected", False), ("connection refused", True), ("no answer", False)]
)
def test_at_its_second_address_a_member_of_etcd_is_let_through_to_and_isnt_there(
    planned: Planner,
    snapshot: Snapshot,
    outcome: str,
    right: bool,  # noqa: FBT001  # pytest's way of giving it
) -> None:
    plan = planned(networks="IPv4 and IPv6", offsets=(11, 12, 13), control_planes=3)
    target = plan.nodes[0]
    way = next(
        one
        for one in reach_attempts(everybody(plan), target, 2379, Reach(2379))
        if one.origin == "node" and one.host == target.addresses[1]
    )
    told = {way.key: {"outcome": outcome, "from": ""}}
    nodes: dict[str, Any] = {node.name: {"from_here": {}, "from_pod": {}} for node in plan.nodes}
    nodes[way.place]["from_here"] = told
    seen = replace(snapshot, nodes=nodes)
    view = View(plan, target, seen, SnapshotHost(seen.facts(target.name)), {}, {})
    observed = examine(control("firewall-reach-control-plane"), view)
    (found,) = [one for one in observed if one.expected.startswith(way.text) and one.observed == outcome]
    assert found.ok is right


@pytest.mark.parametrize(
    ("seen", "port", "published", "admitted"),
    [
        ("198.51.100.7", 6443, False, True),
        ("203.0.113.7", 6443, False, False),
        ("192.0.2.21", 6443, False, True),
        ("203.0.113.7", 30000, True, True),
        ("198.51.100.7", 30000, True, False),
        ("", 6443, False, False),
    ],
)
def test_the_controller_is_let_in_by_the_lists(
    planned: Planner,
    seen: str,
    port: int,
    published: bool,  # noqa: FBT001  # pytest's way of giving it
    admitted: bool,  # noqa: FBT001  # pytest's way of giving it
) -> None:
    plan = planned(access={"api": ["198.51.100.0/24"], "nodePorts": ["203.0.113.0/24"]})
    check = Reach(port, published=published)
    first = next(reach_attempts(everybody(plan), plan.nodes[0], port, check))
    assert is_admitted(plan, plan.nodes[0], first, check, seen) is admitted


@pytest.mark.parametrize(
    ("outcome", "right"),
    [*((each, True) for each in ("connected", "connection refused", "no answer", "unreachable")), ("went well", None)],
)
def test_a_controller_that_may_reach_a_port_tells_what_came_of_it(
    plan: ClusterPlan,
    snapshot: Snapshot,
    nodes: dict[str, Any],
    outcome: str,
    right: bool | None,  # noqa: FBT001  # pytest's way of giving it
) -> None:
    """Of a port of services it is the only one who is asked."""
    plan = replace(plan, access=replace(plan.access, node_ports=(ip_network("10.77.0.1/32"),)))
    worker = plan.workers[0]
    nodes["the controller"]["from_here"]["10.77.0.21 30000"] = {"outcome": outcome, "from": "10.77.0.1"}
    found = examine(
        control("firewall-reach-worker"), View(plan, worker, snapshot, SnapshotHost(snapshot.facts("w1")), {}, {})
    )
    told = [(one.expected, one.observed, one.ok) for one in found if "30000" in one.expected]
    assert told == [("from the controller to 10.77.0.21:30000: admitted", outcome, right)]
    assert {one.ok for one in found} == {True, right}


def test_a_port_of_services_is_tried_by_the_controller_alone(planned: Planner) -> None:
    plan = planned()
    assert len(list(reach_attempts(everybody(plan), plan.nodes[0], 30000, Reach(30000, published=True)))) == 1


def test_metadata_is_tried_in_every_family_that_pods_have(planned: Planner) -> None:
    for networks, count in (("IPv4", 1), ("IPv6", 2), ("IPv4 and IPv6", 3)):
        plan = planned(networks=networks)
        assert len(list(metadata_attempts(plan, plan.nodes[0], None))) == 2 * count  # type: ignore[arg-type]  # it has no say


def test_every_attempt_has_an_asker(planned: Planner) -> None:
    plan = planned(offsets=tuple(range(11, 20)), control_planes=3)
    asked = attempts(everybody(plan))
    assert set(asked) == {"the controller", *(node.name for node in plan.nodes)}
    # Work stays linear: nobody asks much more than another.
    assert max(len(each["from_pod"]) for each in asked.values()) <= 20


# --- the collector's side


def test_attempts_tell_what_happened() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert reach.attempts({"a": {"host": "127.0.0.1", "port": port}}) == {
            "a": {"outcome": "connected", "from": "127.0.0.1"}
        }
    assert reach.attempt(host="127.0.0.1", port=port)["outcome"] == "connection refused"
    assert reach.attempts({}) == pod.attempts(None, {}) == {}


@pytest.mark.parametrize(
    ("uid", "says"), [(None, "no pod with a network of its own"), ("no-such-uid", "has no process on this node")]
)
def test_without_a_pod_nothing_is_said(monkeypatch: pytest.MonkeyPatch, uid: str | None, says: str) -> None:
    monkeypatch.setattr(pod, "_processes", lambda: [(Path("/proc/self"), "0::/user.slice")])
    with pytest.raises(RuntimeError, match=says):
        pod.attempts(uid, {"a": {"host": "127.0.0.1", "port": 9}})


@pytest.mark.programs
def test_attempts_are_made_inside_the_pods_network(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    # Its loopback interface is down: a connection that is refused on this machine has no way there.
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=-1, stdout=-1) as other:
        assert other.stdout
        assert other.stdin
        other.stdout.readline()
        process = Path(f"/proc/{other.pid}")
        groups = [(Path("/proc/self"), "0::/user.slice"), (process, "0::/kubepods.slice/kubepods-poda_b.slice")]
        monkeypatch.setattr(pod, "_processes", lambda: groups)
        asked = {"a": {"host": "127.0.0.1", "port": 9}}
        before = threading.active_count()
        for uid in (None, "a-b"):
            assert pod.attempts(uid, asked)["a"]["outcome"] == "unreachable"
        assert reach.attempts(asked)["a"]["outcome"] == "connection refused"
        assert threading.active_count() <= before
        other.stdin.close()
