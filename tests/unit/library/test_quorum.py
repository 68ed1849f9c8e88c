"""Who may join or restart while etcd keeps its majority: the judgements alone, then with real members of etcd."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.ports import free_port
from tests.unit.render.programs import found

from .conftest import run_module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playbooks.module_utils.kharden import etcd, processes, quorum
    from playbooks.module_utils.kharden.errors import NodeError
else:
    from ansible.module_utils.kharden import etcd, processes, quorum
    from ansible.module_utils.kharden.errors import NodeError


def peer(number: int) -> quorum.Peer:
    host = f"https://10.0.0.{number}"
    return quorum.Peer(f"cp{number}", f"{host}:2380", f"{host}:2379", f"{host}:6443")


def member(number: int, *, learner: bool = False, started: bool = True) -> etcd.Member:
    own = peer(number)
    name, client = (own.name, own.client) if started else ("", "")
    return etcd.Member(id=number, name=name, peer=own.peer, client=client, learner=learner)


ALL = [member(1), member(2), member(3)]
NOTHING = quorum.Local(data=False, running=False)
BEGUN = quorum.Local(data=True, running=True)


def refusal(function: object, *arguments: object) -> str:
    with pytest.raises(NodeError) as raised:
        function(*arguments)  # type: ignore[operator]
    message: str = raised.value.message
    assert "\n" not in message
    return message


def test_one_may_join_those_that_are_all_well() -> None:
    quorum.refuse_join(peer(3), ALL[:2], frozenset({1, 2}))
    quorum.refuse_join(peer(3), [*ALL[:2], member(3, learner=True)], frozenset({1, 2}))
    quorum.refuse_join(peer(3), ALL, frozenset({1, 2}))


def test_nobody_joins_while_another_is_away_or_only_learns() -> None:
    away = refusal(quorum.refuse_join, peer(3), ALL, frozenset({1, 3}))
    assert "etcd member cp2 (https://10.0.0.2:2380, 2) isn't well" in away
    assert "etcdctl member remove 2" in away
    learns = refusal(quorum.refuse_join, peer(3), [ALL[0], member(2, learner=True)], frozenset({1, 2}))
    assert "doesn't vote yet" in learns


@pytest.mark.parametrize(
    ("local", "members"),
    [
        pytest.param(NOTHING, ALL[:2], id="new"),
        pytest.param(BEGUN, ALL, id="a join that was cut off"),
        pytest.param(NOTHING, [*ALL[:2], member(3, learner=True, started=False)], id="cut off before etcd started"),
    ],
)
def test_what_is_not_stale_stays(local: quorum.Local, members: list[etcd.Member]) -> None:
    assert quorum.stale_member(peer(3), local, members, frozenset({1, 2})) is None


@pytest.mark.parametrize("learner", [False, True])
def test_a_member_whose_data_is_gone_is_stale(learner: bool) -> None:  # noqa: FBT001  # a parameter of pytest's
    left = member(3, learner=learner)
    assert quorum.stale_member(peer(3), NOTHING, [*ALL[:2], left], frozenset({1, 2})) == left


def test_whose_a_member_is_must_be_sure() -> None:
    well = frozenset({1, 2})
    assert "another machine" not in refusal(quorum.stale_member, peer(3), BEGUN, ALL[:2], well)
    assert "data of a member that etcd doesn't know" in refusal(quorum.stale_member, peer(3), BEGUN, ALL[:2], well)
    assert "which machine has its address" in refusal(quorum.stale_member, peer(3), NOTHING, ALL, frozenset({1, 2, 3}))
    running = quorum.Local(data=False, running=True)
    assert "answers" in refusal(quorum.stale_member, peer(3), running, ALL, well)
    moved = [*ALL[:2], replace(ALL[2], peer="https://10.0.0.9:2380")]
    assert "of this node's name at another address" in refusal(quorum.stale_member, peer(3), NOTHING, moved, well)


@pytest.mark.parametrize(
    ("members", "healthy"),
    [
        pytest.param(ALL, {1, 2, 3}, id="all are well"),
        pytest.param(ALL, {2, 3}, id="only its own isn't"),
        pytest.param(ALL[:1], {1}, id="a single one has nobody to ask"),
        pytest.param(ALL[:2], {1, 2}, id="of two none can be missed"),
        pytest.param([*ALL, member(4), member(5)], {1, 2, 3, 4}, id="five miss two"),
        pytest.param([*ALL, member(4, learner=True)], {1, 2, 3}, id="a learner has no vote"),
    ],
)
def test_a_member_restarts_where_the_others_are_enough(members: list[etcd.Member], healthy: set[int]) -> None:
    quorum.refuse_restart(peer(1), members, frozenset(healthy))


@pytest.mark.parametrize(
    ("members", "healthy"),
    [
        pytest.param(ALL, {1, 2}, id="another is away"),
        pytest.param(ALL[:2], {1}, id="the other one of two is away"),
        pytest.param([*ALL, member(4), member(5)], {1, 2, 3}, id="two of five are away"),
    ],
)
def test_no_member_restarts_where_the_others_are_too_few(members: list[etcd.Member], healthy: set[int]) -> None:
    said = refusal(quorum.refuse_restart, peer(1), members, frozenset(healthy))
    assert "would lose its majority" in said
    assert "start that node first" in said


def test_what_is_no_list_of_control_planes_is_refused() -> None:
    assert quorum.quorum(None, 1) is None
    for wrong in ({"node": "cp1"}, {"node": "cp9", "peers": []}, {"node": "cp1", "peers": [{"name": "cp1"}]}):
        assert "correct it" in refusal(quorum.quorum, wrong, 1)


@pytest.mark.parametrize(
    "own",
    [{}, {"peer": "https://10.0.0.1:2380"}, {"client": "https://10.0.0.1:2379", "api": "https://10.0.0.1:6443"}],
)
def test_a_node_has_a_part_of_etcd_or_of_the_api_or_of_both(own: dict[str, str]) -> None:
    assert "correct it" in refusal(quorum.quorum, {"node": "n1", "peers": [{"name": "n1", **own}]}, 1)


def test_machines_of_etcd_and_control_planes_are_told_apart() -> None:
    own, other = (quorum.Peer(f"etcd{number}", f"https://10.0.0.{number}:2380", "https://x") for number in (3, 2))
    away = refusal(quorum.refuse_join, own, [member(1), replace(member(2), name=other.name)], frozenset({1}))
    assert "on another machine of etcd" in away
    unknown = refusal(quorum.stale_member, own, BEGUN, ALL[:2], frozenset({1, 2}))
    assert "move /var/lib/etcd/member away on this machine" in unknown


def machine_with(monkeypatch: pytest.MonkeyPatch, *running: processes.Process) -> None:
    """What runs on the node: on this machine other tests have programs of their own meanwhile."""
    monkeypatch.setattr(f"{quorum.__name__}.processes.processes", lambda: iter(running))


@pytest.mark.parametrize(("in_pod", "waits"), [(False, True), (True, False)])
def test_nobody_joins_while_a_join_of_before_goes_on(
    monkeypatch: pytest.MonkeyPatch,
    in_pod: bool,  # noqa: FBT001  # a parameter of pytest's
    waits: bool,  # noqa: FBT001
) -> None:
    machine_with(monkeypatch, processes.Process(4711, 1, frozenset({"kubeadm"}), in_pod, on_node_network=True))
    refused = refusal(quorum.Quorum("cp1", (quorum.Peer("cp1", api="https://127.0.0.1:1"),), 0).before_join, NOTHING)
    assert ("kubeadm of an earlier run still works here (process 4711)" in refused) is waits


def test_a_control_plane_whose_etcd_is_elsewhere_asks_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_with(monkeypatch)
    here, there = (quorum.Peer(f"cp{number}", api="https://127.0.0.1:1") for number in (1, 2))
    gate = quorum.Quorum("cp1", (here,), 0)
    assert "none of the other API servers is ready" in refusal(gate.before_join, NOTHING)
    assert "none of the other API servers is ready (cp2)" in refusal(
        quorum.Quorum("cp1", (here, there), 0).before_join, NOTHING
    )


def test_phases_that_a_join_has_done_are_left_out(tmp_path: Path) -> None:
    def asked() -> object:
        done = subprocess.run(
            [sys.executable, "-c", DONE_BEFORE, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return json.loads(done.stdout)

    assert asked() == []
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/kube-apiserver.yaml").touch()
    assert asked() == ["preflight"]
    (tmp_path / "kubelet.conf").touch()
    assert asked() == ["preflight", "kubelet-start"]


DONE_BEFORE = """
import json, pathlib, sys
from tests.unit.library import conftest  # Ansible then finds our module_utils
sys.path.insert(0, str(conftest.LIBRARY))
import quorum
print(json.dumps(quorum.done_before(pathlib.Path(sys.argv[1]))))
"""


# --- real members


def leaf(folder: Path, name: str, authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None) -> tuple[
    x509.Certificate, ec.EllipticCurvePrivateKey
]:  # fmt: skip
    """A certificate for this machine, signed by `authority` or, without one, an authority; both files in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority[0].subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    )
    certificate = builder.sign(authority[1] if authority else key, hashes.SHA256())
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(key.private_bytes(*form))
    return certificate, key


class Members:
    """Members of one etcd on this machine, with certificates as a control plane has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = leaf(folder, "ca", None)
        leaf(folder, "healthcheck-client", authority)
        self.peers: dict[str, quorum.Peer] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def client(self) -> etcd.Etcd:
        """How the modules ask them."""
        endpoints = [one.client for one in self.peers.values()]
        return etcd.Etcd(endpoints, found()["etcdctl"], str(self.folder))

    def name(self, name: str) -> quorum.Peer:
        """A place for a member."""
        client, other, api = (f"https://127.0.0.1:{free_port()}" for _ in range(3))
        self.peers[name] = quorum.Peer(name, other, client, api)
        return self.peers[name]

    def start(self, name: str, *, state: str) -> None:
        own = self.peers[name]
        tls = (
            f"--{{0}}cert-file={self.folder}/healthcheck-client.crt",
            f"--{{0}}key-file={self.folder}/healthcheck-client.key",
        )
        trust = f"--{{0}}trusted-ca-file={self.folder}/ca.crt"
        known = ",".join(f"{one.name}={one.peer}" for one in self.peers.values())
        self.running[name] = subprocess.Popen(
            [
                *(found()["etcd"], f"--name={name}", f"--data-dir={self.folder}/{name}", "--log-level=error"),
                *(f"--listen-client-urls={own.client}", f"--advertise-client-urls={own.client}"),
                *(f"--listen-peer-urls={own.peer}", f"--initial-advertise-peer-urls={own.peer}"),
                *(f"--initial-cluster={known}", f"--initial-cluster-state={state}"),
                *(text.format(kind) for kind in ("", "peer-") for text in (*tls, trust, "--{0}client-cert-auth=true")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def wait(self, *names: str) -> tuple[etcd.Member, ...]:
        """Until exactly these are well; all members."""
        limit = time.monotonic() + 120
        while True:
            try:
                listed = self.client.members()
                well = self.client.healthy(listed)
            except NodeError:
                listed, well = (), frozenset()
            if {one.name for one in listed if one.id in well} == set(names):
                return listed
            assert time.monotonic() < limit, (listed, well)
            time.sleep(0.2)  # the pace of looking


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    own = Members(tmp_path)
    for name in ("cp1", "cp2", "cp3"):
        own.name(name)
    try:
        for name in own.peers:
            own.start(name, state="new")
        yield own
    finally:
        for name in list(own.running):
            own.stop(name)


@pytest.mark.programs
def test_members_of_a_real_etcd_are_seen_judged_and_removed(members: Members) -> None:
    listed = members.wait("cp1", "cp2", "cp3")
    assert {(one.name, one.peer, one.client, one.learner) for one in listed} == {
        (own.name, own.peer, own.client, False) for own in members.peers.values()
    }
    members.stop("cp3")
    listed = members.wait("cp1", "cp2")
    well, own = members.client.healthy(listed), members.peers
    assert "cp3" in refusal(quorum.refuse_restart, own["cp1"], listed, well)
    quorum.refuse_restart(own["cp3"], listed, well)
    stale = quorum.stale_member(own["cp3"], NOTHING, listed, well)
    assert stale is not None
    members.client.remove(stale)
    assert {one.name for one in members.client.members()} == {"cp1", "cp2"}
    members.stop("cp2")
    assert "etcd has no majority, or can't be reached" in refusal(members.client.members)


@pytest.mark.programs
def test_a_learner_is_seen_as_one(members: Members) -> None:
    members.wait("cp1", "cp2", "cp3")
    fourth = members.name("cp4")
    # etcd adds nobody before its members have been together for five seconds (its strict-reconfig-check).
    quorum.until(lambda: members.client.add(fourth.name, fourth.peer), 60)
    (new,) = (one for one in members.client.members() if one.learner)
    assert not new.started
    assert members.client.healthy([new]) == frozenset()
    members.start("cp4", state="existing")
    listed = members.wait("cp1", "cp2", "cp3", "cp4")
    quorum.refuse_join(fourth, listed, members.client.healthy(listed))
    assert "doesn't vote yet" in refusal(
        quorum.refuse_join, members.peers["cp2"], listed, members.client.healthy(listed)
    )
    assert "can't be added" in refusal(members.client.add, "cp4", fourth.peer)
    (new,) = (one for one in listed if one.learner)
    quorum.until(lambda: members.client.promote(new), 60)
    assert not [one for one in members.client.members() if one.learner]
    assert "can't vote yet" in refusal(members.client.promote, new)


def test_the_module_says_what_is_in_the_way_and_changes_nothing(tmp_path: Path) -> None:
    nobody = "https://127.0.0.1:1"
    peers = [{"name": name, "peer": nobody, "client": nobody} for name in ("etcd1", "etcd2")]
    places = {"data": str(tmp_path), "kubernetes": str(tmp_path), "timeout": 0}
    done = run_module("quorum", {"node": "etcd2", "peers": peers, **places})
    assert done.status == 1
    there = Path(etcd.PROGRAM).exists()
    reason = "etcd has no majority, or can't be reached" if there else f"{etcd.PROGRAM}: isn't installed on this node"
    assert reason in done.values["msg"]
    assert list(tmp_path.iterdir()) == []


# --- machines of etcd's own


LOCAL_ETCD = """
import json, pathlib, sys
from tests.unit.library import conftest  # Ansible then finds our module_utils
sys.path.insert(0, str(conftest.LIBRARY))
import preflight
preflight._MANIFESTS = pathlib.Path(sys.argv[1])
print(json.dumps([[problem.what for problem in preflight.local_etcd(wanted)] for wanted in (True, False)]))
"""


@pytest.mark.parametrize(
    ("servers", "refused"),
    [
        (None, (False, False)),
        ("https://127.0.0.1:2379", (False, True)),
        ("https://[::1]:2379", (False, True)),
        ("https://192.0.2.31:2379,https://192.0.2.32:2379", (True, False)),
    ],
)
def test_etcd_stays_where_a_cluster_began_with_it(
    tmp_path: Path, servers: str | None, refused: tuple[bool, bool]
) -> None:
    if servers:
        (tmp_path / "kube-apiserver.yaml").write_text(f"    - --etcd-servers={servers}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", LOCAL_ETCD, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    found = json.loads(done.stdout)
    assert tuple(map(bool, found)) == refused
    assert all("the roles in cluster.yaml say otherwise" in what for each in found for what in each)


@pytest.mark.parametrize("state", ["begun", "joined"])
def test_what_would_become_a_member_is_told_and_nothing_done(tmp_path: Path, state: str) -> None:
    members = [
        {"name": name, "peer": "https://127.0.0.1:1", "client": "https://127.0.0.1:1"} for name in ("etcd1", "etcd2")
    ]
    asked = {"node": "etcd1", "members": members, "cluster": "c", "state": state, "timeout": 0}
    done = run_module("etcd_member", {**asked, "pending": str(tmp_path / "pending.json")}, check=True)
    assert (done.status, done.values["actions"]) == (0, [{"action": "start", "name": "etcd.service"}])
    assert list(tmp_path.iterdir()) == []
    nobody = run_module("etcd_member", {**asked, "node": "etcd9"}, check=True)
    assert (nobody.status, "correct it" in nobody.values["msg"]) == (1, True)
