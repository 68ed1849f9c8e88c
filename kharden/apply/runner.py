"""One typed call around ansible-runner: events in, progress and a result out. Nothing else imports it."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ansible_runner

from kharden import securefile, ssh
from kharden.apply.restarts import Restart, Restarts
from kharden.errors import RemoteError
from kharden.resources import folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kharden.apply.stages import Stage

# No remote file and no second connection for each task; required, since modules carry secrets on standard input.
_SETTINGS = {
    "ANSIBLE_PIPELINING": "1",
    "ANSIBLE_HOST_KEY_CHECKING": "1",
    # Where the inventory says so: root without a password, or not at all.
    "ANSIBLE_BECOME_METHOD": "ansible.builtin.sudo",
    "ANSIBLE_SUDO_FLAGS": "-H -S -n",
    "ANSIBLE_REMOTE_TMP": "/run/kharden-ansible",
    "ANSIBLE_INJECT_FACT_VARS": "0",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_DEPRECATION_WARNINGS": "0",
    "ANSIBLE_LOCALHOST_WARNING": "0",
    "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.yaml",
    "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
    "ANSIBLE_TIMEOUT": "20",
    # Nodes at a time. With five, a large cluster waits for nodes that look at themselves; each costs some 20 MB here.
    "ANSIBLE_FORKS": "10",
    # Groups of nodes with something to do are empty where there is nothing.
    "ANSIBLE_HOST_PATTERN_MISMATCH": "ignore",
}
# Linux wakes who sleeps up to so many nanoseconds late, if they allow it; what a process allows its children inherit.
# While all its forks are busy Ansible sleeps 0.1 ms between two looks for a free one: a quarter of a core otherwise.
_SLACK = Path("/proc/self/timerslack_ns")
_LATE = "2000000"
# How many seconds ansible-runner waits for output before it looks whether it has to stop.
_RUNNER_SETTINGS = b'{"pexpect_timeout": 1}'


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed where: Ansible's own message, one line; `unreachable` where ssh didn't get there at all."""

    node: str
    task: str
    message: str
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A task that changed something (or, in check mode, would): `details` are the module's own `changes`.

    Of a task that failed they are what it had done by then, or begun.
    """

    node: str
    task: str
    details: tuple[Mapping[str, Any], ...]


@dataclass(slots=True)
class ApplyResult:
    """What a run did.

    Attributes:
        seconds: wall time of each phase, by its name in playbooks/site.yml.
        tasks: how many ran on each node.
        notes: what a person should know and nothing was done about, each with the node that says it.
        restarts: what restarted, or would, in that order.
        build: the digest of the build.
    """

    status: str = "running"
    failures: list[Failure] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    build: str = ""

    @property
    def failed(self) -> frozenset[str]:
        """The nodes on which something failed."""
        return frozenset(failure.node for failure in self.failures)

    def add(self, later: ApplyResult) -> None:
        """What a run after this one did."""
        self.status = later.status
        self.failures += later.failures
        self.changes += later.changes
        for phase, seconds in later.seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
        for node, tasks in later.tasks.items():
            self.tasks[node] = self.tasks.get(node, 0) + tasks
        self.notes += [note for note in later.notes if note not in self.notes]
        before = max((one.order for one in self.restarts), default=0)
        self.restarts += [replace(one, order=before + one.order) for one in later.restarts]

    def as_document(self) -> dict[str, Any]:
        """The same for a script."""
        changes = [{"node": one.node, "task": one.task, "changes": [*map(dict, one.details)]} for one in self.changes]
        return {
            "changed": len(changes),
            "changes": changes,
            "notes": self.notes,
            "tasks": self.tasks,
            "restarts": [restart.as_document() for restart in self.restarts],
            "seconds": self.seconds,
        }


class RunError(RemoteError):
    """A run failed; `result` is what it did before that, and on which nodes what failed."""

    def __init__(self, error: RemoteError, result: ApplyResult) -> None:
        super().__init__(error.message, remedy=error.remedy, details=error.details)
        self.result = result

    def as_document(self) -> dict[str, Any]:
        """With what was done."""
        failures: dict[str, list[dict[str, Any]]] = {}
        for one in self.result.failures:
            told = {"task": one.task, "message": one.message, "unreachable": one.unreachable}
            failures.setdefault(one.node, []).append(told)
        return super().as_document() | {"failures": failures} | self.result.as_document()


class Progress(Protocol):
    """Who shows how the run goes on."""

    def phase(self, name: str) -> None:
        """A phase begins."""

    def task(self, node: str, name: str, state: str) -> None:
        """A task ended on a node: "ok", "changed", "failed", "skipped" or "unreachable"."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of playbooks/site.yml.

    Attributes:
        build: the folder build/<cluster>.
        workspace: private folder on tmpfs that holds a payload for each node.
        cache: the folder of artifacts' objects.
        stage: which nodes and phases it is for.
        check: look only (Ansible's check mode).
        is_lost: whether it has to stop, since its lock is another's now.
    """

    build: Path
    workspace: Path
    cache: Path
    stage: Stage
    check: bool = False
    diff: bool = False
    is_lost: Callable[[], bool] = lambda: False

    @property
    def ssh_config(self) -> Path:
        """How ssh reaches the nodes."""
        return self.build / "ansible" / "ssh_config"

    @property
    def ssh_arguments(self) -> tuple[str, ...]:
        """One connection for each node and run; nothing of the user's own configuration counts."""
        return (
            *("-F", str(self.ssh_config)),
            *("-o", "ControlMaster=auto", "-o", "ControlPersist=60s"),
            *("-o", f"ControlPath={self.workspace}/ssh-%C"),
        )


class _Listener:
    """Turns events of ansible-runner into progress and a result."""

    def __init__(self, progress: Progress, stage: Stage, *, check: bool = False) -> None:
        self.progress = progress
        self._stage = stage
        self._check = check
        self._restarts = Restarts(check)
        self._plays = 0
        self._play = ""  # one of which no task runs isn't worth a word
        self.result = ApplyResult()
        self._phase: tuple[str, float] | None = None

    def __call__(self, event: dict[str, Any]) -> bool:
        """Take one event; False: ansible-runner keeps no file of it."""
        kind = event.get("event", "")
        data = event.get("event_data", {})
        if kind == "playbook_on_play_start":
            self._play = data.get("name") or data.get("play", "")
            self._plays += 1  # of a serial play each batch counts
        elif kind == "playbook_on_task_start":
            self._begin(self._play)
        elif kind in _STATES:
            self._ended(kind, data)
        elif kind == "playbook_on_stats":
            self.close()
        return False

    def _begin(self, name: str) -> None:
        if (self._phase and self._phase[0] == name) or len(self.result.failed) > self._stage.allowed:
            return  # one batch of a serial play after the other; or a play without the nodes that failed: all of them
        self.close()
        self._phase = (name, time.monotonic())
        self.progress.phase(name)

    def close(self) -> None:
        """The phase that runs has ended."""
        self.result.restarts = self._restarts.ordered()
        if self._phase:
            self.result.seconds[self._phase[0]] = time.monotonic() - self._phase[1]
            self._phase = None

    def _ended(self, kind: str, data: dict[str, Any]) -> None:
        node, task = str(data.get("host", "")), str(data.get("task", ""))
        outcome = data.get("res")
        result: dict[str, Any] = outcome if isinstance(outcome, dict) else {}
        state = _STATES[kind]
        # Of one that failed what it had done by then is known, where it is ours; a look has done nothing.
        details = tuple(result.get("changes") or result.get("actions") or ())
        unfinished = state == "failed" and not self._check and bool(details)
        if state == "failed" and data.get("ignore_errors"):
            state = "ok"
        if state == "unreachable" and node in self._stage.others:
            self.result.notes.append(f"{node}: can't be reached, and is left alone")
        elif state in {"failed", "unreachable"}:
            self.result.failures.append(Failure(node, task, _message(result), state == "unreachable"))
        elif result.get("changed") or unfinished:
            state = "changed"
        if unfinished or state == "changed":
            self.result.changes.append(Change(node, task, details))
        self.result.notes += [f"{node}: {note}" for note in _notes(result)]
        self.result.tasks[node] = self.result.tasks.get(node, 0) + (state != "skipped")
        if kind != "runner_on_failed" or not self._check:
            self._restarts.note((self._plays, data.get("task_uuid", task)), node, result.get("restarting") or ())
        self.progress.task(node, task, state)


_STATES = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_skipped": "skipped",
    "runner_on_unreachable": "unreachable",
}


def _notes(result: dict[str, Any]) -> list[str]:
    """A module's own `notes`, or what a task of Ansible's own set as `kharden_notes`."""
    notes = result.get("notes") or (result.get("ansible_facts") or {}).get("kharden_notes") or ()
    return [str(note) for note in notes]


def _message(result: dict[str, Any]) -> str:
    """The line of a module's result that says what is wrong."""
    if result.get("censored"):
        return "it failed, and its output may hold secrets: look at the node's journal"
    if ssh.lacks_sudo(f"{result.get('msg')} {result.get('module_stderr')}"):
        return f"who logs in there can't become root: {ssh.SUDO_REMEDY}"
    items = [item for item in result.get("results") or () if isinstance(item, dict) and item.get("failed")]
    if items:  # of a loop, whose own message only counts them
        return _message(items[0])
    problems = result.get("problems")
    if problems:
        return "; ".join(p if isinstance(p, str) else f"{p['what']}: {p['remedy']}" for p in problems)
    for key in ("stderr", "msg", "module_stderr"):
        lines = [line.strip() for line in str(result.get(key) or "").splitlines() if line.strip()]
        telling = [line for line in lines if line.lower().startswith(("error", "[error"))]
        if lines:
            return (telling or lines)[0 if key == "msg" or telling else -1]
    return "it failed without a word"


def run(request: Run, progress: Progress) -> ApplyResult:
    """Run playbooks/site.yml.

    Raises:
        RunError: a node failed or can't be reached; what was done stays, and the next run goes on from there.
    """
    result, error = attempt(request, progress)
    if error:
        raise RunError(error, result)
    return result


def attempt(request: Run, progress: Progress) -> tuple[ApplyResult, RemoteError | None]:
    """As `run`, and what was done beside what went wrong."""
    listener = _Listener(progress, request.stage, check=request.check)
    private = request.workspace / "runner"
    securefile.make_folder(private, mode=0o700)
    # Where this file is missing ansible-runner forgets what settings it is given.
    securefile.write(private / "env" / "settings", _RUNNER_SETTINGS, mode=0o600)
    with suppress(OSError):  # not Linux, or not allowed: then it takes longer
        _SLACK.write_text(_LATE, encoding="ascii")
    runner = ansible_runner.run(
        private_data_dir=str(private),
        project_dir=str(folder("playbooks")),
        playbook="site.yml",
        inventory=[str(request.build / "ansible" / "hosts.yaml"), str(_groups(request))],
        extravars=_variables(request),
        envvars=_environment(request),
        cmdline=_flags(request),
        event_handler=listener,
        quiet=True,
        suppress_env_files=True,
        cancel_callback=_stop(request),
        ident="apply",
    )
    listener.close()
    result = listener.result
    result.status = runner.status
    if runner.rc != 0 or result.failures:
        result.failures = [_explained(failure, request) for failure in result.failures]
        return result, _failure(request, result, runner)
    return result, None


def _flags(request: Run) -> str | None:
    flags = [flag for flag, on in (("--check", request.check), ("--diff", request.diff)) if on]
    if request.stage.phases:
        flags.append(f"--tags={','.join(request.stage.phases)}")
    return " ".join(flags) or None


def _groups(request: Run) -> Path:
    """An inventory beside the build's: which of its nodes this run is for."""
    stage = request.stage
    groups = {
        "kharden_chosen": stage.nodes,
        "kharden_awaited": (*stage.nodes, *stage.waits),
        "kharden_others": stage.others,
    }
    children = {group: {"hosts": {name: None for name in names}} for group, names in groups.items()}  # noqa: C420  # mypy
    path = request.workspace / "groups.yaml"
    securefile.write(path, json.dumps({"all": {"children": children}}).encode(), mode=0o600)
    return path


def _stop(request: Run) -> Callable[[], bool]:
    """Whether somebody has interrupted it, as ansible-runner finds out where nothing is given, or its lock is lost."""
    interrupted = ansible_runner.utils.signal_handler()  # None in a thread, which gets no signals
    return lambda: bool(interrupted and interrupted()) or request.is_lost()


def _explained(failure: Failure, request: Run) -> Failure:
    """What ssh itself says of a node that Ansible couldn't reach."""
    said = ssh.out_of_reach(request.ssh_config, failure.node) if failure.unreachable else ""
    return replace(failure, message=said) if said else failure


def _variables(request: Run) -> dict[str, object]:
    """Paths and what was chosen, no secret: ansible-runner writes extra variables down."""
    stage = request.stage
    return {
        "kharden_may_fail": stage.failing_percentage,
        "kharden_allowed": stage.allowed,
        "kharden_one_first": int(stage.one_first),
        "kharden_may_join": stage.joins,
        "kharden_prepared": stage.prepared,
        "kharden_build": str(request.build),
        "kharden_run": str(request.workspace / "payloads"),
        "kharden_cache": str(request.cache),
        "kharden_ssh_arguments": shlex.join(request.ssh_arguments),
    }


def _environment(request: Run) -> dict[str, str]:
    playbooks = folder("playbooks")
    return _SETTINGS | {
        "ANSIBLE_SSH_ARGS": shlex.join(request.ssh_arguments),
        # Where a play doesn't say it itself; a template in that place would not be looked at.
        "ANSIBLE_ANY_ERRORS_FATAL": "1" if request.stage.allowed == 0 else "0",
        "ANSIBLE_LIBRARY": str(playbooks / "library"),
        # Modules too: one of them looks at what the others would do, and it shall be their code that looks.
        "ANSIBLE_MODULE_UTILS": os.pathsep.join(str(playbooks / name) for name in ("module_utils", "library")),
        "ANSIBLE_LOCAL_TEMP": str(request.workspace / "ansible"),
        "ANSIBLE_HOME": str(request.workspace / "ansible"),
        # ansible-playbook lies beside the interpreter that runs us, and no other one is meant.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
    }


def _failure(request: Run, result: ApplyResult, runner: ansible_runner.Runner) -> RemoteError:
    details = [f"{failure.node}: {failure.task}: {failure.message}" for failure in result.failures]
    if details:
        return RemoteError(details[0], remedy="mend that and apply again; it goes on where it stopped", details=details)
    if runner.status == "canceled" and request.is_lost():
        return RemoteError(
            "the cluster's lock was taken away, or its control planes can't be reached any more",
            remedy="see with `plan` who is at work there",
        )
    if runner.status == "canceled":
        return RemoteError("it was interrupted", remedy="apply again; it goes on where it stopped")
    with runner.stdout as output:  # a property: it opens the file each time
        lines = [line for line in output if line.strip()]
    reason = next((line for line in lines if "ERROR" in line), lines[-1] if lines else "no output")
    return RemoteError(f"Ansible stopped: {reason.strip()}", remedy="see that the build is whole: `invoke render`")
