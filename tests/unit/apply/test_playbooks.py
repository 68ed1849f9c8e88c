"""Who is asked, changed and left alone by the real playbooks, where modules on nodes only say what a test says."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import yaml

from kharden.apply import runner, stages, waves
from kharden.apply.build import BuildFolder
from kharden.apply.choice import chosen
from kharden.apply.runner import ApplyResult, Run
from kharden.apply.workspace import workspace
from kharden.errors import RemoteError
from kharden.resources import folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kharden.apply.stages import Stage

NODES = {name: "control-plane" if name.startswith("cp") else "worker" for name in ("cp1", "cp2", "cp3", "w1", "w2")}
ALL = frozenset(NODES)
# Module → what it answers; `member`, `busy` and `host` are of the node.
ANSWERS = {
    "preflight": "member=member, dns=member",
    "look": "member=member, dns=member, pending=pending, busy=busy, cluster_busy='', notes=[]",
    "images": "missing=[], archives=[]",
    "staged": "missing=[], held=[]",
    "converge": "changes=[], restarts=pending, left=[], missing=[], held=[]",
    "services": "actions=[], restarted=[], restarting=asked, unconfirmed=way_in == 'unknown' and not check",
    "kubeadm": "changes=[], restarted=[], restarting=[], restarts=[], initialised=True",
    "objects": "changes=[], notes=[str(one) for one in given['wanted']]",
    "quorum": "actions=[], skip_phases=[]",
    "etcd_member": "actions=[]",
    "rolled_out": "waited=0",
}
# One that reads its arguments by itself: Ansible's own helpers take longer to compile than all else that is done here.
MODULE = """#!/usr/bin/python
# WANT_JSON
import json, os, sys, time
def done(**values):
    print(json.dumps(values))
    sys.exit("failed" in values)
names = "expectations wanted state files payload units restarts kernel quorum config phase content patches node peers"
names += " clean images kubeadm cluster way_in stored members control_plane service_proxy workloads hold until"
with open(sys.argv[1]) as file:
    given = json.load(file)
unknown = [name for name in given if not name.startswith("_ansible_") and name not in names.split()]
if unknown:
    done(failed=True, msg="has no parameters " + ", ".join(unknown))
check = given["_ansible_check_mode"]
host, member, busy = os.environ["HOST"], os.environ["MEMBER"] == "yes", os.environ["BUSY"]
pending = os.environ["PENDING"].split()
way_in = given.get("way_in") or "unknown"
asked = [dict(name=name, turn=0) for name in given.get("restarts") or []]
if os.environ["FAILS"] == "{name}":
    done(failed=True, msg="it is broken")
clock = (given.get("expectations") or dict(clock=time.time()))["clock"]
if abs(clock - time.time()) > 900:  # less than clocks of two zones differ by, and longer than any play takes
    done(failed=True, msg="it is told another time than the controller's")
done(changed=False, **dict({answer}))
"""


@dataclass
class Nodes:
    """What is so of them; one run of the playbooks in check mode tells what is made of it."""

    root: Path
    private: Path
    roles: dict[str, str] = field(default_factory=lambda: dict(NODES))
    members: frozenset[str] = ALL
    away: frozenset[str] = frozenset()
    idle: frozenset[str] = frozenset()
    fails: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    tasks: list[tuple[str, str]] = field(default_factory=list)

    def phase(self, name: str) -> None:
        """A phase begins."""

    def task(self, node: str, name: str, state: str) -> None:
        """A task ended; one that was skipped is none."""
        if state != "skipped":
            self.tasks.append((node, name))

    def changed(self) -> set[str]:
        """Nodes that a module which changes something was run on."""
        return {node for node, task in self.tasks if task in {"Place all files", "Settings of the kubelet"}}

    def run(self, *, check: bool = True, **words: str) -> ApplyResult:
        build = BuildFolder(self.root / "build", {"nodes": {name: {"role": role} for name, role in self.roles.items()}})
        choice = chosen(build.nodes, **(dict.fromkeys(("limit", "tags", "wave", "max_fail")) | words))
        self._write(build)

        def attempt(stage: Stage) -> tuple[ApplyResult, RemoteError | None]:
            return runner.attempt(Run(build.folder, self.private, self.root, stage, check=check), self)

        if choice.in_waves:
            return waves.in_waves(build, choice, attempt)
        result, error = attempt(stages.whole(build, choice))
        if error:
            raise error
        return result

    def _write(self, build: BuildFolder) -> None:
        for path, text in self.manifests.items():
            (build.folder / path).write_text(text, encoding="utf-8")
        hosts = {name: self._host(name) for name in build.nodes}
        roles = {
            "control_planes": [name for name in build.nodes if build.is_control_plane(name)],
            "first_control_plane": ["cp1"],
            "etcd_machines": [],
            "workers": [name for name in build.nodes if not build.is_control_plane(name)],
        }
        children = {group: {"hosts": {name: None for name in names}} for group, names in roles.items()}  # noqa: C420
        lists: dict[str, object] = {
            "kharden_manifests": list(self.manifests),
            "kharden_peers": [],
            "kharden_serving": [],
        }
        whole = {"kharden_network_routed": True, "kharden_network_brought": True} | lists
        (build.folder / "ansible/hosts.yaml").write_text(
            yaml.safe_dump({"all": {"hosts": hosts, "children": children, "vars": whole}}), encoding="utf-8"
        )

    def _host(self, name: str) -> dict[str, object]:
        (self.private / "payloads" / f"{name}.payload").write_text("x", encoding="utf-8")
        configuration = self.root / f"build/nodes/{name}/files/etc/kharden/kubeadm/init.yaml"
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text("x", encoding="utf-8")
        python = self.root / f"python-{name}"
        member = "yes" if name in self.members else "no"
        words = (
            f"HOST={name} MEMBER={member} BUSY={'' if name in self.idle else 'yes'} FAILS={self.fails.get(name, '')} "
            f"PENDING='{self.pending.get(name, '')}'"
        )
        python.write_text(f'#!/bin/sh\n{words} exec /usr/bin/env python3 "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        # What such a module is given lies in a file: of the test, not of this machine.
        own = {"ansible_python_interpreter": str(python), "ansible_remote_tmp": str(self.root / "remote")}
        here = {"ansible_connection": "local", **own}
        # Port 1 of loopback: nobody listens there, so the answer is immediate.
        way = {"ansible_host": "127.0.0.1", "ansible_port": 1} if name in self.away else here
        names = ("addresses", "images", "patches", "programs")
        lists: dict[str, object] = {f"kharden_{name}": [] for name in names}
        return {**way, **lists, "kharden_preflight": {}}


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    playbooks = tmp_path / "playbooks"
    shutil.copytree(folder("playbooks"), playbooks, ignore=shutil.ignore_patterns("library"))
    (playbooks / "library").mkdir()
    for name, answer in ANSWERS.items():
        text = MODULE.format(name=name, answer=answer)
        (playbooks / "library" / f"{name}.py").write_text(text, encoding="utf-8")
    # The API is asked by a command, which a plan runs too.
    phase = playbooks / "phases/serving_certificates.yml"
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho '{\"items\": []}'\n", encoding="utf-8")
    kubectl.chmod(0o755)
    phase.write_text(
        phase.read_text(encoding="utf-8").replace("/usr/local/bin/kubectl", str(kubectl)), encoding="utf-8"
    )
    (tmp_path / "build/ansible").mkdir(parents=True)
    away = "Host *\n  HostName 127.0.0.1\n  Port 1\n"
    (tmp_path / "build/ansible/ssh_config").write_text(away, encoding="utf-8")
    monkeypatch.setattr(runner, "folder", lambda _name: playbooks)
    with workspace() as private:
        (private / "payloads").mkdir()
        yield Nodes(tmp_path, private)


ASKED = "Read requests"
OBJECTS = "Objects of the cluster"


def test_everybody_is_changed_who_has_something_to_do(nodes: Nodes) -> None:
    nodes.idle = frozenset({"cp2", "w2"})
    nodes.run()
    assert nodes.changed() == ALL - nodes.idle
    assert {("cp1", ASKED), ("cp1", OBJECTS)} <= set(nodes.tasks)


def test_objects_are_what_stands_in_documents_of_any_file(nodes: Nodes) -> None:
    texts = ("---\nkind: A\n---\n{kind: B, of: '{{ 1 }}'}\n", "---\n---\n# nothing\n---\nnull\n---\nkind: C\n---\n")
    nodes.manifests = {f"{number}.yaml": text for number, text in enumerate(texts)}
    result = nodes.run(tags="manifests")
    assert result.notes == [f"cp1: {one}" for one in ({"kind": "A"}, {"kind": "B", "of": "{{ 1 }}"}, {"kind": "C"})]


def test_the_controllers_clock_is_told_as_it_is_wherever_that_is(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    nodes.run(limit="w1", tags="host")
    assert nodes.changed() == {"w1"}


def test_a_limit_leaves_others_alone_that_may_be_away(nodes: Nodes) -> None:
    nodes.away = frozenset({"cp1", "w2"})
    result = nodes.run(limit="w1")
    assert nodes.changed() == {"w1"}
    assert result.notes == ["cp1: can't be reached, and is left alone"]
    # Another control plane is asked, no other worker is, and nothing of the cluster is touched.
    assert ("cp2", ASKED) in nodes.tasks
    assert "w2" not in dict(nodes.tasks)
    assert OBJECTS not in {task for _, task in nodes.tasks}


def test_a_chosen_control_plane_speaks_for_the_cluster(nodes: Nodes) -> None:
    nodes.run(limit="cp3,w1")
    assert nodes.changed() == {"cp3", "w1"}
    assert {("cp3", ASKED), ("cp3", OBJECTS)} <= set(nodes.tasks)


def test_one_that_is_meant_and_away_stops_it_before_anything_is_touched(nodes: Nodes) -> None:
    nodes.away = frozenset({"w2"})
    with pytest.raises(RemoteError, match=r"^w2: Look at the machine, change nothing: can't be reached"):
        nodes.run()
    assert nodes.changed() == set()


def test_another_control_plane_that_is_reached_and_unfit_stops_it_too(nodes: Nodes) -> None:
    nodes.fails = {"cp2": "preflight"}
    with pytest.raises(RemoteError, match=r"^cp2: Look at the machine, change nothing: it is broken"):
        nodes.run(limit="w1")
    assert nodes.changed() == set()


@pytest.mark.parametrize(
    ("members", "away", "limit", "told"),
    [
        ({"w1"}, {"cp2", "cp3"}, "cp1", "cp1 would join a cluster, and cp2, cp3 may have it and can't be reached"),
        ({"w2"}, {"cp1", "cp2", "cp3"}, "w1", "w1 would join a cluster, and cp1, cp2, cp3 may have it and can't be"),
        (set(), set(), "w1,w2", "w1, w2 would join a cluster, and there is none yet: add cp1 to --limit"),
    ],
)
def test_nobody_joins_where_nobody_speaks_and_no_second_cluster_is_made(
    nodes: Nodes, members: set[str], away: set[str], limit: str, told: str
) -> None:
    nodes.members, nodes.away = frozenset(members), frozenset(away)
    with pytest.raises(RemoteError) as caught:
        nodes.run(limit=limit)
    assert told in str(caught.value)
    assert nodes.changed() == set()


def test_the_first_cluster_is_made_where_surely_none_is(nodes: Nodes) -> None:
    nodes.members = frozenset()
    nodes.run(limit="cp1")
    assert ("cp1", "Initialise the cluster here") in nodes.tasks


def test_only_chosen_phases_run_with_one_control_plane_after_the_other(nodes: Nodes) -> None:
    nodes.run(tags="kubeadm")
    tasks = {task for _, task in nodes.tasks}
    assert tasks >= {"Look at the machine, change nothing", "Settings of the kubelet"}
    assert tasks.isdisjoint({"Place all files", ASKED, OBJECTS})
    last = "Restart what reads changed files"
    assert [node for node, task in nodes.tasks if task == last] == ["cp1", "cp2", "cp3", "w1", "w2"]


def test_who_keeps_pods_away_is_asked_once_when_the_first_control_plane_has_its_settings(nodes: Nodes) -> None:
    asks = "Pods of the service proxy may be made"
    nodes.run(tags="kubeadm")
    assert asks not in {task for _, task in nodes.tasks}
    nodes.tasks.clear()
    nodes.run(tags="kubeadm", check=False)
    tasks = ("Static pods of the control plane", asks, "Restart what reads changed files")
    order = [(node, task) for node, task in nodes.tasks if task in tasks]
    assert order[:3] == [("cp1", task) for task in tasks]
    assert asks not in {task for _, task in order[3:]}
    nodes.tasks.clear()
    nodes.fails = {"cp1": "rolled_out"}
    nodes.idle = frozenset({"cp1", "cp2", "cp3"})
    with pytest.raises(RemoteError, match=f"^w1: {asks}: it is broken"):
        nodes.run(tags="kubeadm", check=False)
    assert nodes.tasks[-1] == ("w1", asks)
    # Where some may fail each is for itself.
    nodes.run(tags="kubeadm", check=False, max_fail="1")


def test_a_worker_that_fails_leaves_the_others_of_its_wave_alone(nodes: Nodes) -> None:
    nodes.fails = {"w1": "kubeadm"}
    with pytest.raises(RemoteError, match=r"^1 worker failed, and all others are done: w1"):
        nodes.run(wave="2", max_fail="1")
    assert ("w2", "See whether the kubelet has one") in nodes.tasks
    assert ("cp1", OBJECTS) in nodes.tasks


def test_as_many_as_may_fail_are_counted_among_those_with_something_to_do(nodes: Nodes) -> None:
    more = ("w3", "w4", "w5")
    nodes.roles |= dict.fromkeys(more, "worker")
    nodes.members, nodes.idle, nodes.fails = ALL | set(more), frozenset(more), {"w1": "kubeadm"}
    with pytest.raises(RemoteError, match=r"^1 worker failed, and all others are done: w1"):
        nodes.run(wave="5", max_fail="1")
    assert ("w2", "See whether the kubelet has one") in nodes.tasks


def test_a_changed_way_in_is_confirmed_before_many_others_are_changed(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = [f"w{number}" for number in range(3, 11)]
    nodes.roles |= dict.fromkeys(more, "worker")
    nodes.members = ALL | set(more)
    path = nodes.root / "bin"
    path.mkdir()
    (path / "ssh").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(path), prepend=os.pathsep)
    nodes.run(check=False, tags="host")
    kept = "Keep what was changed, and run the other services"
    order = [(task, node) for node, task in nodes.tasks if task in {"Run services", "Log in anew", kept}]
    names = sorted(nodes.roles)  # as the inventory has them
    parts = names[:10], names[10:]
    tasks = [
        (task, some)
        for some in sorted(parts, key=lambda some: order[0][1] not in some)
        for task in ("Run services", "Log in anew", kept)
    ]
    for task, some in tasks:
        assert sorted(order[: len(some)]) == sorted((task, node) for node in some)
        del order[: len(some)]
    assert not order


def test_a_way_in_that_lets_nobody_in_is_taken_back_while_others_keep_theirs_and_that_is_said_first(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = nodes.root / "bin"
    path.mkdir()
    (path / "ssh").write_text('#!/bin/sh\ncase " $* " in *" w1 "*) exit 255; esac\n')
    (path / "ssh").chmod(0o700)
    monkeypatch.setenv("PATH", str(path), prepend=os.pathsep)
    with pytest.raises(RemoteError, match=r"^w1: Say that it was taken back: with the new firewall or sshd settings"):
        nodes.run(check=False, tags="host")
    assert [task for node, task in nodes.tasks if node == "w1"][-3:] == [
        "Log in anew", "Take back what was changed", "Say that it was taken back",
    ]  # fmt: skip
    kept = {node for node, task in nodes.tasks if task == "Keep what was changed, and run the other services"}
    assert kept == nodes.roles.keys() - {"w1"}
    assert {node for node, task in nodes.tasks if task == "Take back what was changed"} == {"w1"}


def test_what_is_in_use_restarts_one_by_one_where_others_depend_on_it_and_then_on_one_worker(nodes: Nodes) -> None:
    more = ("w3", "w4")
    nodes.roles |= dict.fromkeys(more, "worker")
    nodes.members = ALL | {"w3"}
    nodes.pending = dict.fromkeys(("cp1", "cp2", "w1", "w2", "w3"), "containerd.service")
    nodes.fails = {"cp1": "services"}
    with pytest.raises(RemoteError, match=r"^cp1: Run services: it is broken"):
        nodes.run(tags="host")
    assert [node for node, task in nodes.tasks if task == "Run services"] == ["cp1"]
    nodes.tasks.clear()
    nodes.fails = {"w1": "services"}
    with pytest.raises(RemoteError, match=r"^w1: Run services: it is broken"):
        nodes.run(tags="host")
    assert [node for node, task in nodes.tasks if task == "Run services"] == ["cp1", "cp2", "w1"]
    nodes.tasks.clear()
    nodes.fails = {}
    nodes.run(tags="host")
    order = [node for node, task in nodes.tasks if task == "Run services"]
    assert order[:3] == ["cp1", "cp2", "w1"]
    assert set(order[3:]) == {"cp3", "w2", "w3", "w4"}


def test_what_waits_restarts_in_its_phase_also_where_nothing_was_placed_before(nodes: Nodes) -> None:
    nodes.pending = {"cp2": "static-pod/kube-apiserver kubelet.service"}
    restarts = [(one.node, one.what) for one in nodes.run(tags="kubeadm").restarts]
    assert restarts == [("cp2", "static-pod/kube-apiserver")]
