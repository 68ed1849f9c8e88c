"""Every control passes on the recorded cluster, fails on a deviation of its own, and is unknown without facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kharden.controls import CONTROLS, control
from kharden.observe.examine import examine
from kharden.observe.examine.arguments import flags
from kharden.observe.examine.view import View
from kharden.observe.host import SnapshotHost
from kharden.observe.request import ACTIVE, settings_paths
from kharden.plan.model import NetworkPort
from tests.unit.observe.conftest import AUTHORITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kharden.observe.facts import Snapshot
    from kharden.observe.model import Observation
    from kharden.plan.model import ClusterPlan

_DEVIATIONS: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "fixtures" / "deviations.yaml").read_text(encoding="utf-8")
)
# The recorded cluster has no machine of etcd's own; test_etcd.py has one that has.
_IDS = [entry.id for entry in CONTROLS if entry.duties != ("etcd",)]
_SECTIONS = (
    *("files", "folders", "digests", "certificates", "kubeconfigs", "processes", "sockets", "sysctls", "units"),
    *("handshakes", "probes", "cluster", "features", "firewall", "from_here", "from_pod", "policies"),
    *("sshd", "sshd_keyless", "packaged", "journal", "etcd", "interfaces"),
)


def _examine(plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str], identifier: str) -> list[Observation]:
    found: list[Observation] = []
    for node in plan.nodes:
        if control(identifier).concerns(node.duties):
            view = View(plan, node, snapshot, SnapshotHost(snapshot.facts(node.name)), digests, AUTHORITIES)
            found += examine(control(identifier), view)
    return found


def deviate(nodes: dict[str, Any], deviation: dict[str, Any]) -> None:
    if "file" in deviation:
        name, path = deviation["file"]
        _change_file(nodes[name]["files"], path, deviation)
    elif "flag" in deviation:
        name, program, flag = deviation["flag"]
        for process in _running(nodes[name], program):
            process["argv"] = [word for word in process["argv"] if not word.startswith(f"--{flag}=")]
            process["argv"] += [] if deviation["to"] is None else [f"--{flag}={deviation['to']}"]
    elif "process" in deviation:
        name, program = deviation["process"]
        for process in _running(nodes[name], program):
            process |= {key: value for key, value in deviation.items() if key != "process"}
    elif "setting" in deviation:
        name, *path = deviation["setting"]
        nodes["cp1"]["cluster"]["kubelets"][name][settings_paths().index(tuple(path))] = deviation["to"]
    elif "listens" in deviation:
        name, protocol, address, port, program = deviation["listens"]
        programs = [program] if program else []
        socket = {"protocol": protocol, "address": address, "port": port, "programs": programs}
        nodes[name]["sockets"].append(socket)
    else:
        name, *keys = deviation["at"]
        value = _at(nodes[name], deviation["as"]) if "as" in deviation else deviation["to"]
        assert keys[-1] in _at(nodes[name], keys[:-1])
        _at(nodes[name], keys[:-1])[keys[-1]] = value


def _change_file(files: dict[str, Any], path: str, deviation: dict[str, Any]) -> None:
    files.setdefault(path, {}).setdefault(path, {"type": "file", "mode": 0o600, "user": "root", "group": "root"})
    for table in files.values():
        if path in table:
            table[path] |= {key: deviation[key] for key in ("user", "group") if key in deviation}
            table[path] |= {"mode": int(deviation["mode"], 8)} if "mode" in deviation else {}


def _running(node: dict[str, Any], program: str) -> list[dict[str, Any]]:
    found = [process for process in node["processes"] if process["program"] == program]
    assert found
    return found


def _at(value: Any, keys: Sequence[str]) -> Any:  # noqa: ANN401  # JSON
    for key in keys:
        value = value[key]
    return value


def test_every_control_has_a_deviation() -> None:
    assert sorted(_DEVIATIONS) == sorted(_IDS)


@pytest.mark.parametrize("identifier", _IDS)
def test_recorded_cluster_passes(
    identifier: str, plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str]
) -> None:
    found = _examine(plan, snapshot, digests, identifier)
    assert found
    assert [one for one in found if one.ok is not True] == []


@pytest.mark.parametrize("identifier", _IDS)
def test_deviation_fails(
    identifier: str, plan: ClusterPlan, snapshot: Snapshot, nodes: dict[str, Any], digests: dict[str, str]
) -> None:
    deviate(nodes, _DEVIATIONS[identifier])
    assert False in [one.ok for one in _examine(plan, snapshot, digests, identifier)]


_MORE_DEVIATIONS = [
    (
        "sysctl-network",
        {"at": ["w1", "interfaces", "net.ipv4.conf.*.send_redirects", "cni0"], "to": "1"},
        "cni0: 1",
    ),
    (
        "sysctl-network",
        {"at": ["cp1", "interfaces", "net.ipv6.conf.*.accept_redirects", "default"], "to": "1"},
        "default: 1",
    ),
    (
        "sysctl-network",
        {"at": ["w1", "interfaces", "net.ipv4.conf.*.accept_redirects"], "to": {}},
        "no interface has it",
    ),
    (
        "sshd-keys-only",
        {"at": ["w1", "sshd_keyless"], "to": ["/etc/ssh/sshd_config: PasswordAuthentication yes"]},
        "/etc/ssh/sshd_config: PasswordAuthentication yes",
    ),
    (
        "dashboard-absent",
        {
            "at": [
                *("cp1", "cluster", "objects"),
                "/api/v1/pods?labelSelector=app.kubernetes.io%2Fpart-of%3Dkubernetes-dashboard",
            ],
            "to": ["dashboard/kubernetes-dashboard-api-0"],
        },
        "dashboard/kubernetes-dashboard-api-0",
    ),
]


@pytest.mark.parametrize("one", _MORE_DEVIATIONS)
def test_another_deviation_fails_and_is_named(
    one: tuple[str, dict[str, Any], str],
    plan: ClusterPlan,
    snapshot: Snapshot,
    nodes: dict[str, Any],
    digests: dict[str, str],
) -> None:
    identifier, deviation, said = one
    deviate(nodes, deviation)
    found = [seen.observed for seen in _examine(plan, snapshot, digests, identifier) if seen.ok is False]
    assert found == [said]


def test_a_kernel_without_ipv6_takes_no_redirects(
    plan: ClusterPlan, snapshot: Snapshot, nodes: dict[str, Any], digests: dict[str, str]
) -> None:
    nodes["w1"]["interfaces"]["net.ipv6.conf.*.accept_redirects"] = {}
    assert {one.ok for one in _examine(plan, snapshot, digests, "sysctl-network")} == {True}


def test_what_a_machine_or_its_network_may_have_besides_is_no_stranger(
    plan: ClusterPlan, snapshot: Snapshot, nodes: dict[str, Any], digests: dict[str, str]
) -> None:
    deviate(nodes, {"listens": ["w1", "udp", "10.76.0.21", 68, "systemd-networkd"]})
    deviate(nodes, {"listens": ["w1", "udp", "127.0.0.1", 323, "chronyd"]})
    for identifier in ("listeners-worker", "loopback-listeners-worker"):
        assert {one.ok for one in _examine(plan, snapshot, digests, identifier)} == {True}
    deviate(nodes, {"listens": ["w1", "udp", "10.76.0.21", 8472, ""]})  # the kernel's own, as VXLAN's is
    assert {one.ok for one in _examine(plan, snapshot, digests, "listeners-worker")} == {False}
    network = replace(plan.network, ports=(NetworkPort(8472, "udp", "nodes"),))
    assert {one.ok for one in _examine(replace(plan, network=network), snapshot, digests, "listeners-worker")} == {True}


@pytest.mark.parametrize("identifier", _IDS)
def test_nothing_seen_is_unknown(
    identifier: str, plan: ClusterPlan, nodes: dict[str, Any], snapshot: Snapshot, digests: dict[str, str]
) -> None:
    verdicts = set()
    for section in _SECTIONS:
        blind = {name: {**facts, section: {"error": "PermissionError"}} for name, facts in nodes.items()}
        oks = {one.ok for one in _examine(plan, replace(snapshot, nodes=blind), digests, identifier)}
        verdicts |= oks
    # One section or another is what it looks at; without it nothing is said, neither right nor wrong.
    assert None in verdicts
    assert False not in verdicts


@pytest.mark.parametrize("identifier", _IDS)
def test_unreachable_node_is_unknown(
    identifier: str, plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str]
) -> None:
    gone = replace(snapshot, nodes={name: {"error": "can't be reached"} for name in snapshot.nodes})
    found = _examine(plan, gone, digests, identifier)
    assert {one.ok for one in found} == {None}
    assert all("can't be reached" in one.observed for one in found)


@pytest.mark.parametrize("identifier", _IDS)
def test_passive_run_leaves_out_what_writes(
    identifier: str, plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str]
) -> None:
    found = _examine(plan, replace(snapshot, passive=True), digests, identifier)
    writes = any(isinstance(check, ACTIVE) for check in control(identifier).all_checks)
    assert any(one.left_out for one in found) == writes
    assert all(one.ok is None for one in found if one.left_out)


def test_no_keys_in_etcd_prove_nothing(
    plan: ClusterPlan, snapshot: Snapshot, nodes: dict[str, Any], digests: dict[str, str]
) -> None:
    nodes["cp1"]["etcd"]["secrets"] = {"prefixes": {}, "plain": [], "plain_count": 0}
    assert None in [one.ok for one in _examine(plan, snapshot, digests, "etcd-encryption-at-rest")]


def test_no_secret_to_look_at_is_left_out_where_none_may_be_made(
    plan: ClusterPlan, snapshot: Snapshot, nodes: dict[str, Any], digests: dict[str, str]
) -> None:
    etcd = nodes["cp1"]["etcd"]
    etcd["secrets"] = {"prefixes": {}, "plain": [], "plain_count": 0}
    found = _examine(plan, replace(snapshot, passive=True), digests, "etcd-encryption-at-rest")
    assert [one.left_out for one in found if one.ok is None] == [True]
    etcd["configmaps"] = etcd["secrets"]
    found = _examine(plan, replace(snapshot, passive=True), digests, "etcd-encryption-at-rest")
    assert [one.left_out for one in found if one.ok is None] == [True, False]


def test_another_provider_is_not_the_planned_one(
    plan: ClusterPlan, snapshot: Snapshot, nodes: dict[str, Any], digests: dict[str, str]
) -> None:
    nodes["cp1"]["etcd"]["secrets"]["prefixes"] = {"k8s:enc:aescbc:v1:key-1:": 3}
    assert False in [one.ok for one in _examine(plan, snapshot, digests, "etcd-encryption-at-rest")]


@pytest.mark.parametrize(
    ("days", "words"), [(-1, "not good before"), (320, "not renewed in time"), (400, "expired on")]
)
def test_certificate_in_time(
    days: int, words: str, plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str]
) -> None:
    later = replace(snapshot, at=snapshot.at + timedelta(days=days))
    found = _examine(plan, later, digests, "apiserver-certificate")
    assert [(one.ok, words in one.observed) for one in found] == [(False, True)]


def test_expired_authority_is_found(plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str]) -> None:
    later = replace(snapshot, at=snapshot.at + timedelta(days=9000))
    assert {one.ok for one in _examine(plan, later, digests, "trusted-authorities")} == {False}


def test_a_ca_of_the_same_name_is_none_of_the_clusters(
    plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if every node's file had been exchanged, with all that follows from it: nothing on the nodes tells."""
    monkeypatch.setitem(AUTHORITIES, "ca", "0" * 64)
    for identifier in ("trusted-authorities", "trusted-authorities-control-plane"):
        found = [one for one in _examine(plan, snapshot, digests, identifier) if one.ok is False]
        assert found
        assert all("kubernetes is none of the cluster's; lacks the cluster's ca" in one.observed for one in found)


def test_without_known_authorities_trust_is_unknown(
    plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(AUTHORITIES, "ca")
    assert {one.ok for one in _examine(plan, snapshot, digests, "trusted-authorities")} == {None}


def test_refusal_for_another_reason_proves_nothing(
    plan: ClusterPlan, snapshot: Snapshot, nodes: dict[str, Any], digests: dict[str, str]
) -> None:
    nodes["cp1"]["cluster"]["pods"]["a privileged pod"] |= {"reason": "Forbidden", "message": "exceeded quota"}
    assert False in [one.ok for one in _examine(plan, snapshot, digests, "pod-security-enforced")]


def test_program_unknown_to_the_lock_is_unknown(plan: ClusterPlan, snapshot: Snapshot, digests: dict[str, str]) -> None:
    del digests["etcd"]
    assert {one.ok for one in _examine(plan, snapshot, digests, "running-programs-etcd")} == {None}


def test_a_nodes_words_are_one_printable_line(
    plan: ClusterPlan, snapshot: Snapshot, nodes: dict[str, Any], digests: dict[str, str]
) -> None:
    nodes["cp1"]["folders"]["/etc/kubernetes/manifests"] = ["\x1b[2J\n\u202e" + "a" * 9999]
    (found,) = _examine(plan, snapshot, digests, "static-pods-control-plane")
    assert found.observed.isprintable()
    assert len(found.observed) <= 500


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_lying_node_breaks_nothing(
    data: st.DataObject, plan: ClusterPlan, recorded: dict[str, Any], digests: dict[str, str], snapshot: Snapshot
) -> None:
    """Whatever stands in the place of a fact, there is a finding, and nothing is raised."""
    nodes = dict(recorded["nodes"])
    name = data.draw(st.sampled_from(sorted(nodes)))
    nodes[name] = _with_a_lie(data, nodes[name])
    for identifier in _IDS:
        assert _examine(plan, replace(snapshot, nodes=nodes), digests, identifier)


def _with_a_lie(data: st.DataObject, value: Any) -> Any:  # noqa: ANN401  # JSON
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = sorted(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    if not keys or data.draw(st.integers(0, 5)) == 0:
        return data.draw(_JSON)
    key = data.draw(st.sampled_from(keys))
    changed = _with_a_lie(data, value[key])
    if isinstance(value, dict):
        return {**value, key: changed}
    return [*value[:key], changed, *value[key + 1 :]]


@pytest.mark.parametrize(
    ("command_line", "expected"),
    [
        ("kubelet --a=b --c_d=e", {"a": ["b"], "c-d": ["e"]}),
        ("etcd -auto-tls --name cp1 --x", {"auto-tls": ["true"], "name": ["cp1"], "x": ["true"]}),
        ("api --a=1 --a=2", {"a": ["1", "2"]}),
        ("api --empty= word", {"empty": [""]}),
        ("", {}),
    ],
)
def test_flags(command_line: str, expected: dict[str, list[str]]) -> None:
    assert flags(command_line) == expected


def test_policies_that_nobody_enforces_fail_unless_the_network_was_chosen_so(
    plan: ClusterPlan, snapshot: Snapshot, nodes: dict[str, Any], digests: dict[str, str]
) -> None:
    identifier = "network-policies-enforced"
    answers = nodes["cp1"]["policies"]
    (denied,) = (target for target, answer in answers.items() if "9153" in target)
    answers[denied] |= {"outcome": "connected"}
    (chosen,) = (one for one in _examine(plan, snapshot, digests, identifier) if "9153" in one.expected)
    assert (chosen.ok, chosen.chosen) == (None, True)
    other = replace(plan, network=replace(plan.network, plugin="manifest"))
    (found,) = (one for one in _examine(other, snapshot, digests, identifier) if "9153" in one.expected)
    assert (found.ok, found.observed) == (False, "connected")
