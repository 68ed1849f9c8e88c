"""Runs of the real Ansible on this machine: what is made of its events, and what a person is told."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kharden.apply import runner
from kharden.apply.runner import ApplyResult, Change, Failure, Run, RunError, run
from kharden.apply.stages import Stage
from kharden.apply.workspace import workspace
from kharden.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "canary, sing only in cages"
NO_SUDO = "who logs in there can't become root: let sudo make that user root without a password"


@dataclass
class Shown:
    """What a person would have seen."""

    phases: list[str] = field(default_factory=list)
    tasks: list[tuple[str, str, str]] = field(default_factory=list)

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def task(self, node: str, name: str, state: str) -> None:
        self.tasks.append((node, name, state))


def shell(script: str, **keys: object) -> dict[str, object]:
    """A task that runs a script."""
    return {"name": script, "ansible.builtin.command": {"argv": ["sh", "-c", script]}, **keys}


def play(name: str, *tasks: dict[str, object], hosts: str = "cp1", **keys: object) -> dict[str, object]:
    return {"name": name, "hosts": hosts, "gather_facts": False, "tasks": list(tasks), **keys}


@dataclass
class Site:
    """playbooks/ and build/ of the test's own; both nodes are this machine."""

    root: Path
    workspace: Path
    stage: Stage = field(default_factory=lambda: Stage(("cp1", "w1")))

    def write(self, *plays: dict[str, object]) -> None:
        (self.root / "playbooks" / "site.yml").write_text(yaml.safe_dump(list(plays)), encoding="utf-8")

    def run(self, *, check: bool = False) -> tuple[ApplyResult, Shown]:
        shown = Shown()
        request = Run(self.root / "build", self.workspace, self.root / "cache", self.stage, check=check, diff=check)
        return run(request, shown), shown

    def fail(self) -> RemoteError:
        with pytest.raises(RemoteError) as caught:
            self.run()
        return caught.value


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("playbooks/library", "playbooks/module_utils", "build/ansible"):
        (tmp_path / name).mkdir(parents=True)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    # Port 1 of loopback: nobody listens there, so the answer is immediate.
    away = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    others = {f"n{number}": local for number in range(1, 6)}
    inventory = {"all": {"hosts": {"cp1": local, "w1": local, **others, "away": away}}}
    (tmp_path / "build/ansible/hosts.yaml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    away_too = "Host away\n  HostName 127.0.0.1\n  Port 1\n"
    (tmp_path / "build/ansible/ssh_config").write_text(away_too, encoding="utf-8")
    monkeypatch.setattr(runner, "folder", lambda _name: tmp_path / "playbooks")
    with workspace() as private:
        yield Site(tmp_path, private)


def changing(name: str, **result: object) -> str:
    """A module that returns what one of ours would."""
    return (
        "from ansible.module_utils.basic import AnsibleModule\n"
        "module = AnsibleModule(argument_spec={}, supports_check_mode=True)\n"
        f"module.exit_json(**{result!r})  # {name}\n"
    )


def test_ansible_may_be_woken_late_so_that_it_waits_for_its_forks_without_a_busy_loop(site: Site) -> None:
    if not Path("/proc/self/timerslack_ns").exists():
        pytest.skip("timer slack is Linux's")
    site.write(play("Host", shell("test $(cat /proc/self/timerslack_ns) = 2000000", changed_when=False)))
    assert site.run()[0].status == "successful"


def test_a_run_that_goes_well_is_told_as_it_goes(site: Site) -> None:
    detail = {"path": "/etc/it", "action": "update", "diff": "-a\n+b"}
    module = site.root / "playbooks/library/place.py"
    module.write_text(changing("place", changed=True, changes=[detail]), encoding="utf-8")
    site.write(
        play(
            "Host",
            {"name": "Place", "place": {}},
            shell("true", changed_when=False),
            shell("false", when=False),
            hosts="cp1,w1",
        ),
        play("Serial", shell("exit 0"), hosts="cp1,w1", serial=1),
    )
    result, shown = site.run()
    assert (result.status, result.failures) == ("successful", [])
    assert shown.phases == ["Host", "Serial"]
    assert list(result.seconds) == ["Host", "Serial"]
    assert all(seconds > 0 for seconds in result.seconds.values())
    assert sorted(shown.tasks) == sorted(
        (node, task, state)
        for node in ("cp1", "w1")
        for task, state in (("Place", "changed"), ("true", "ok"), ("false", "skipped"), ("exit 0", "changed"))
    )
    assert result.tasks == {"cp1": 3, "w1": 3}
    assert [change for change in result.changes if change.node == "cp1"] == [
        Change("cp1", "Place", (detail,)),
        Change("cp1", "exit 0", ()),
    ]


def test_a_run_that_fails_says_what_it_did_before(site: Site) -> None:
    site.write(play("Host", shell("exit 0")), play("More", shell("exit 1")))
    told = site.fail().as_document()
    assert told["changes"] == [{"node": "cp1", "task": "exit 0", "changes": []}]
    assert [(node, one["task"], one["unreachable"]) for node, (one,) in told["failures"].items()] == [
        ("cp1", "exit 1", False)
    ]
    assert list(told["seconds"]) == ["Host", "More"]


def failing(name: str, **result: object) -> str:
    """A module that fails as one of ours would."""
    return (
        "from ansible.module_utils.basic import AnsibleModule\n"
        "module = AnsibleModule(argument_spec={}, supports_check_mode=True)\n"
        f"module.fail_json(msg='no', **{result!r})  # {name}\n"
    )


@pytest.mark.parametrize(
    "told",
    [{"actions": [{"action": "restart", "name": "a.service"}]}, {"changes": [{"path": "/a", "action": "update"}]}],
)
def test_what_a_task_did_before_it_failed_counts_but_where_it_only_looked(site: Site, told: dict[str, Any]) -> None:
    restarting = [{"name": "a.service", "turn": 0}]
    module = site.root / "playbooks/library/serve.py"
    module.write_text(failing("serve", restarting=restarting, **told), encoding="utf-8")
    site.write(play("Host", {"name": "Serve", "serve": {}}))
    with pytest.raises(RunError) as caught:
        site.run()
    result = caught.value.result
    assert result.changes == [Change("cp1", "Serve", tuple(*told.values()))]
    assert [(one.node, one.what) for one in result.restarts] == [("cp1", "a.service")]
    assert [failure.message for failure in result.failures] == ["no"]
    assert caught.value.as_document()["changed"] == 1
    with pytest.raises(RunError) as caught:
        site.run(check=True)
    assert (caught.value.result.changes, caught.value.result.restarts) == ([], [])
    site.write(play("Host", {"name": "Serve", "serve": {}, "ignore_errors": True}))
    result, _ = site.run()
    assert [change.task for change in result.changes] == ["Serve"]


def test_a_task_that_failed_and_had_done_nothing_is_no_change(site: Site) -> None:
    (site.root / "playbooks/library/serve.py").write_text(failing("serve", actions=[], changes=[]), encoding="utf-8")
    site.write(play("Host", {"name": "Serve", "serve": {}}))
    with pytest.raises(RunError) as caught:
        site.run()
    assert caught.value.result.changes == []


def test_what_a_person_should_know_is_kept_with_who_says_it(site: Site) -> None:
    module = site.root / "playbooks/library/place.py"
    module.write_text(changing("place", changed=False, notes=["one", "another"]), encoding="utf-8")
    said: dict[str, object] = {"name": "Say", "ansible.builtin.set_fact": {"kharden_notes": ["a third"]}}
    site.write(play("Host", {"name": "Place", "place": {}}, said))
    result, _ = site.run()
    assert result.notes == ["cp1: one", "cp1: another", "cp1: a third"]


def test_in_check_mode_nothing_is_done_and_our_paths_reach_the_playbooks(site: Site) -> None:
    aim = site.root / "made"
    names = ("kharden_build", "kharden_run", "kharden_cache")
    wanted = [site.root / "build", site.workspace / "payloads", site.root / "cache"]
    checks = [f"{name} == '{path}'" for name, path in zip(names, wanted, strict=True)]
    checks.append(f"ansible_playbook_python | dirname == '{Path(sys.executable).parent}'")
    touch = {"path": str(aim), "state": "touch", "mode": "0600"}
    site.write(
        play(
            "Host",
            {"name": "Make", "ansible.builtin.file": touch},
            {"name": "Compare", "ansible.builtin.assert": {"that": checks}},
        )
    )
    result, _ = site.run(check=True)
    assert [change.task for change in result.changes] == ["Make"]
    assert not aim.exists()


# --- what failed


def test_of_everything_that_failed_the_line_that_tells_most_is_told(site: Site) -> None:
    site.stage = Stage((), allowed=9)  # so that each has its turn
    said = (
        "[preflight] Running",
        "W1 old",
        "error execution phase x: the disk is full",
        "To see the stack trace",
    )
    kubeadm = "; ".join(f"echo '{line}' >&2" for line in said) + "; exit 1"
    item = "echo {{ item }} is not ready >&2; test {{ item }} = a"
    hide = f"echo '{CANARY}'; echo '{CANARY}' >&2; exit 1"
    failing = {
        "n1": {**shell(kubeadm), "name": "Make"},
        "n2": {**shell(item), "name": "Wait", "loop": ["a", "b"]},
        "n3": {**shell(hide), "name": "Hide", "no_log": True},
        "n4": {**shell(hide), "name": "Hide", "no_log": True, "loop": [1]},
        "n5": {**shell("exit 3"), "name": "Be silent"},
        "away": {**shell("true"), "name": "Reach"},
    }
    tasks = [task | {"when": f"inventory_hostname == '{node}'"} for node, task in failing.items()]
    site.write(play("Host", *tasks, hosts="all"))
    error = site.fail()
    hidden = "it failed, and its output may hold secrets: look at the node's journal"
    assert error.details[:5] == (
        "n1: Make: error execution phase x: the disk is full",
        "n2: Wait: b is not ready",
        f"n3: Hide: {hidden}",
        f"n4: Hide: {hidden}",
        "n5: Be silent: non-zero return code",
    )
    assert re.fullmatch(r"away: Reach: .*Connection refused", error.details[5])
    assert str(error) == f"{error.details[0]}: mend that and apply again; it goes on where it stopped"
    # The playbook names it here; what Ansible was told and said lies in the workspace.
    written = [path for path in site.workspace.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if CANARY.encode() in path.read_bytes()]


def test_a_playbook_that_ansible_does_not_take_is_told_in_one_line(site: Site) -> None:
    site.write(play("Host", {"name": "It", "no.such.module": {}}))
    error = site.fail()
    assert "\n" not in str(error)
    assert "no.such.module" in error.message


def waiting(site: Site) -> dict[str, object]:
    """A task that ends when the test lets it, or long after all else."""
    return shell(f"for _ in $(seq 1200); do [ ! -e {site.root}/goes ] || exit 0; sleep 0.1; done")


def test_one_that_is_ended_says_so(site: Site) -> None:
    site.write(play("Host", waiting(site)))
    program = f"""
import sys
from pathlib import Path
from kharden.apply import runner
from kharden.apply.stages import Stage
root = Path({str(site.root)!r})
runner.folder = lambda _name: root / "playbooks"

class Shown:
    def phase(self, name): print(name, flush=True)
    def task(self, node, name, state): pass

try:
    runner.run(runner.Run(root / "build", root, root / "cache", Stage(())), Shown())
except runner.RemoteError as error:
    sys.exit(str(error))
"""
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "Host\n"
        process.send_signal(signal.SIGTERM)
        # Ansible's own child, which runs the task, is left to end by itself.
        assert process.wait(300) == 1
        (site.root / "goes").touch()
        said = process.stderr.read()
    assert said.strip() == "it was interrupted: apply again; it goes on where it stopped"


def test_one_whose_lock_was_taken_away_stops(site: Site) -> None:
    site.write(play("Host", waiting(site), shell(f"touch {site.root}/went-on")))
    request = Run(site.root / "build", site.workspace, site.root / "cache", Stage(()), is_lost=lambda: True)
    with pytest.raises(RemoteError, match=r"^the cluster's lock was taken away"):
        run(request, Shown())
    (site.root / "goes").touch()
    assert not (site.root / "went-on").exists()


# --- the line that tells most, of results as modules give them


@pytest.mark.parametrize(
    ("result", "line"),
    [
        ({"msg": "non-zero return code", "stderr": "one\ntwo\n", "rc": 1}, "two"),
        ({"msg": "non-zero return code", "stderr": "one\nError: it broke\ntwo"}, "Error: it broke"),
        (
            {"msg": "non-zero return code", "stderr": "\t[ERROR Swap]: is on\n\t[ERROR Port]: is taken"},
            "[ERROR Swap]: is on",
        ),
        ({"msg": "it is so\nand more"}, "it is so"),
        ({"msg": "", "module_stderr": "sudo: a password is required\n"}, NO_SUDO),
        ({"msg": "Task failed: Missing sudo password"}, NO_SUDO),
        ({"msg": "No start of json char found", "module_stderr": "/bin/sh: 1: sudo: not found\n"}, NO_SUDO),
        ({"msg": "x", "problems": ["one", "two"]}, "one; two"),
        ({"msg": "x", "problems": [{"what": "swap is on", "remedy": "swapoff -a"}]}, "swap is on: swapoff -a"),
        (
            {"censored": "hidden", "stderr": CANARY},
            "it failed, and its output may hold secrets: look at the node's journal",
        ),
        ({"msg": "One or more items failed", "results": [{"failed": False}, {"failed": True, "stderr": "b"}]}, "b"),
        (
            {"msg": "x", "results": [{"failed": True, "censored": "y", "stderr": CANARY}]},
            "it failed, and its output may",
        ),
        ({}, "it failed without a word"),
        ({"msg": None, "stderr": 5}, "5"),
    ],
)
def test_of_a_result_one_line_is_told(result: dict[str, Any], line: str) -> None:
    listener = runner._Listener(Shown(), Stage(()))  # noqa: SLF001  # what ansible-runner calls
    listener({"event": "runner_on_failed", "event_data": {"host": "cp1", "task": "It", "res": result}})
    (failure,) = listener.result.failures
    assert failure == Failure("cp1", "It", failure.message)
    assert failure.message.startswith(line)
    assert "\n" not in failure.message


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"event": "verbose"},
        {"event": "runner_on_ok", "event_data": {}},
        {"event": "runner_on_failed", "event_data": {"res": None}},
    ],
)
def test_an_event_of_another_shape_is_no_accident(event: dict[str, Any]) -> None:
    listener = runner._Listener(Shown(), Stage(()))  # noqa: SLF001  # what ansible-runner calls
    assert listener(event) is False


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "as Ansible said"),
        ("Host key for w1 has changed and you have requested", "its ssh host key is not the pinned one"),
        ("Host key for bastion has changed and you have requested", "bastion's ssh host key is not the pinned one"),
        (
            "ssh: connect to host 10.0.0.5 port 22: Connection refused",
            "can't be reached: ssh: connect to host 10.0.0.5",
        ),
    ],
)
def test_ssh_itself_says_why_a_node_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    monkeypatch.setattr("kharden.ssh.explain", lambda *_: said)
    request = Run(tmp_path, tmp_path, tmp_path, Stage(()))
    explain = runner._explained  # noqa: SLF001  # what a run does with each of its failures
    assert explain(Failure("w1", "Look", "as Ansible said", unreachable=True), request).message.startswith(told)
    known = Failure("w1", "Look", "it failed")
    assert explain(known, request) == known


# --- for some nodes, some phases


def test_others_are_asked_where_they_are_reached_and_only_chosen_phases_run(site: Site) -> None:
    site.stage = Stage(("cp1",), ("n1", "away"), ("n2",), phases=("two",))
    look = shell("true", changed_when=False)
    site.write(
        play("One", look, hosts="kharden_others", ignore_unreachable=True, any_errors_fatal=False, tags="always"),
        play("Two", shell("exit 0"), hosts="kharden_chosen", tags="two"),
        play("Three", look, hosts="kharden_awaited", tags="two"),
        play("Four", shell("exit 1"), hosts="kharden_chosen", tags="four"),
    )
    result, shown = site.run()
    assert shown.phases == ["One", "Two", "Three"]
    assert {(node, state) for node, _, state in shown.tasks} == {
        *(("n1", "ok"), ("away", "unreachable"), ("cp1", "changed"), ("cp1", "ok"), ("n2", "ok"))
    }
    assert (result.failures, result.notes) == ([], ["away: can't be reached, and is left alone"])


def test_some_may_fail_and_the_others_go_on(site: Site) -> None:
    site.stage = Stage(("n1", "n2", "n3", "n4"), allowed=1)
    strict: dict[str, object] = {"max_fail_percentage": "{{ kharden_may_fail }}"}
    fails = shell("test {{ inventory_hostname }} != n1")
    site.write(
        play("One", fails, hosts="kharden_chosen", **strict), play("Two", shell("exit 0"), hosts="kharden_chosen")
    )
    request = Run(site.root / "build", site.workspace, site.root / "cache", site.stage)
    shown = Shown()
    result, error = runner.attempt(request, shown)
    assert error is not None
    assert (set(result.failed), shown.phases) == ({"n1"}, ["One", "Two"])
    assert sorted(node for node, task, _ in shown.tasks if task == "exit 0") == ["n2", "n3", "n4"]
    fails = shell("test {{ inventory_hostname }} = n3")
    site.write(
        play("One", fails, hosts="kharden_chosen", **strict), play("Two", shell("exit 0"), hosts="kharden_chosen")
    )
    _, error = runner.attempt(request, shown)
    assert shown.phases == ["One", "Two", "One"]
