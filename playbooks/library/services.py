# SPDX-License-Identifier: Apache-2.0
"""Ansible module: units, kernel parameters and static pods as they should be, restarted where their files changed."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:  # the same files, where mypy finds them
    from collections.abc import Callable, Sequence

    from playbooks.module_utils.kharden import (
        etcd,
        files,
        firewall,
        kernel,
        quorum,
        restarts,
        static_pods,
        units,
        way_back,
    )
    from playbooks.module_utils.kharden.errors import NodeError
else:
    from ansible.module_utils.kharden import (
        etcd,
        files,
        firewall,
        kernel,
        quorum,
        restarts,
        static_pods,
        units,
        way_back,
    )
    from ansible.module_utils.kharden.errors import NodeError

DOCUMENTATION = r"""
module: services
short_description: Run services, and restart what must read its files again
description:
  - Enables and starts units, restarts those that are listed, sets kernel parameters and loads modules from kharden's
    own files, and makes the kubelet start the processes of static pods anew.
  - A restart counts only if it was seen. For a unit that is the time at which it became active, for a static pod a new
    process that answers the pod's probe.
  - What was seen to have restarted is struck off the list that C(converge) keeps on the node.
  - Kernel parameters, modules and the firewall's rules are compared each time, so what was set by hand is put right.
  - A change of the firewall or of sshd could lock everybody out. It comes first and alone, with a timer that takes it
    back after a minute, and is told by C(unconfirmed). A run with O(way_in=proven) after a new login keeps it and does
    the rest, one with O(way_in=lost) takes it back at once.
version_added: "0.1.0"
author:
  - The kharden authors
options:
  units:
    description: Units that must be in a certain state.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The unit's full name, C(containerd.service) for one.
        type: str
        required: true
      enabled:
        description: Whether it starts at boot. Left as it is by default.
        type: bool
      state:
        description:
          - Whether it is active now. Left as it is by default.
          - A oneshot service needs C(RemainAfterExit=yes) for it, since systemd forgets that another one has run.
        type: str
        choices: [started, stopped]
  restarts:
    description:
      - What C(converge) and C(kubeadm) returned as C(restarts). Unit names, C(daemon-reload), C(sysctl), C(modules)
        and C(static-pod/NAME); C(gone/NAME) for a unit that stops because its file has left.
      - What doesn't run has nothing to restart; it is not started by this.
    type: list
    elements: str
    default: []
  quorum:
    description: Whose majority a restart must not take, C(node) and C(peers) as of M(quorum). It is waited until etcd
      (its static pod, or C(etcd.service)) and another API server can do without this node's; where that doesn't come,
      nothing is changed.
    type: dict
  pending:
    description: Where the list of what still has to restart lies.
    type: path
    default: /var/lib/kharden/pending.json
  firewall:
    description: The file of rules that kharden-firewall.service loads. It is loaded again where others are in force.
    type: path
    default: /etc/nftables.d/kharden.nft
  kernel:
    description:
      - Whether kernel parameters and modules are looked at. Of several tasks for a node one does, so that what differs
        is told once.
    type: bool
    default: true
  manifests:
    description: The folder of static pod manifests. A pod's own manifest says how to probe it.
    type: path
    default: /etc/kubernetes/manifests
  control_plane:
    description:
      - Whether the static pods of a control plane that have a manifest must answer their probes in the end. A kubelet
        may have them start later than it was told to.
    type: bool
    default: false
  service_proxy:
    description: Whether the node's kube-proxy must answer in the end.
    type: bool
    default: false
  way_in:
    description: What is known of the change that an earlier run left unconfirmed.
    type: str
    choices: [unknown, proven, lost]
    default: unknown
  steady:
    description: Seconds that a unit must stay up after its start or restart.
    type: float
    default: 2.0
  timeout:
    description: Seconds that one unit or static pod may take.
    type: int
    default: 180
attributes:
  check_mode:
    description: Tells what it would do, and does none of it.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Run services
  services:
    units:
      - {name: containerd.service, enabled: true, state: started}
      - {name: kubelet.service, enabled: true}
    restarts: "{{ converged.restarts }}"
"""

RETURN = r"""
actions:
  description:
    - What was done, or would be in check mode, in order. It has a C(diff) where rules of the firewall were changed by
      hand. Where the module fails the last one may have been begun only.
  returned: always
  type: list
  elements: dict
  sample: [{action: restart, name: containerd.service}]
unconfirmed:
  description: The firewall or sshd was changed and nothing else done; it is taken back unless a next run confirms it.
  returned: always
  type: bool
restarted:
  description:
    - What was seen to have restarted. For units the times are microseconds since boot, for static pods the start of the
      process in clock ticks since boot.
  returned: always
  type: list
  elements: dict
  sample: [{name: containerd.service, before: 81234567, after: 99234567}]
restarting:
  description:
    - What restarts, in order, also in check mode. C(away) is for how many seconds a static pod didn't answer, now or,
      in check mode, when it restarted last; none where it wasn't seen to answer again. With C(turn) 1 what comes after
      a new login.
  returned: always
  type: list
  elements: dict
  sample: [{name: static-pod/kube-apiserver, turn: 0, away: 6.2}]
"""

ARGUMENTS: dict[str, Any] = {
    "units": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "enabled": {"type": "bool"},
            "state": {"type": "str", "choices": ["started", "stopped"]},
        },
    },
    "restarts": {"type": "list", "elements": "str", "default": []},
    "quorum": {"type": "dict"},
    "pending": {"type": "path", "default": restarts.PENDING},
    "firewall": {"type": "path", "default": firewall.RULES},
    "kernel": {"type": "bool", "default": True},
    "manifests": {"type": "path", "default": static_pods.MANIFESTS},
    "control_plane": {"type": "bool", "default": False},
    "service_proxy": {"type": "bool", "default": False},
    "way_in": {"type": "str", "choices": ["unknown", "proven", "lost"], "default": "unknown"},
    "steady": {"type": "float", "default": 2.0},
    "timeout": {"type": "int", "default": 180},
}
_RUNS_AT_BOOT = frozenset(
    {"enabled", "enabled-runtime", "static", "indirect", "generated", "transient", "alias", "linked"}
)
# Units that decide who gets in.
_DECIDES = (firewall.UNIT, way_back.SSHD)


class Services:
    """One run: what it did so far, and how it was told to do it."""

    def __init__(self, params: dict[str, Any], *, plan: bool) -> None:
        self.params = params
        self.plan = plan
        self.timeout: int = params["timeout"]
        self.wanted: dict[str, dict[str, Any]] = {unit["name"]: unit for unit in params["units"]}
        self.asked: list[str] = list(dict.fromkeys(params["restarts"]))
        self.actions: list[dict[str, str]] = []
        self.restarted: list[dict[str, Any]] = []
        self.restarting: list[dict[str, Any]] = []
        self.turn = 0
        self.silent: list[str] = []  # pods that don't answer, in check mode
        self.drift = ""
        self.shown: dict[str, units.Unit] = {}  # in a plan
        self.unconfirmed = False
        self.quorum = quorum.quorum(params["quorum"], params["timeout"])
        if wrong := [name for name in (*self.wanted, *self.asked) if not restarts.is_restart(name)]:
            raise NodeError(f"{wrong[0]!r}: is neither a unit's full name nor another thing that restarts: correct it")

    def run(self) -> None:
        """Do everything, what others depend on first; where that could be the way in, nothing more than that."""
        if self.params["way_in"] == "lost":
            way_back.take()
            return
        if self.params["way_in"] == "proven":
            way_back.confirm()
            self._struck(_DECIDES)
        if self.params["kernel"]:
            self._kernel()
        self._gone()
        self._reload()
        self._firewall()
        self._way_in()
        if self.unconfirmed:
            return
        self._units()
        for name in self.asked:
            if name.startswith(restarts.STATIC_POD):
                self._static_pod(name)
        if self.params["control_plane"]:
            self._control_plane()
        if self.params["service_proxy"]:
            self._service_proxy()

    def _do(self, action: str, name: str) -> bool:
        """Note an action; True if it is to be carried out."""
        why = {"diff": self.drift} if name == firewall.UNIT and self.drift else {}
        self.actions.append({"action": action, "name": name} | why)
        return not self.plan

    def so_far(self) -> dict[str, Any]:
        """What was done, or begun: the last action may be what failed."""
        return {"actions": self.actions, "restarted": self.restarted, "restarting": self.restarting}

    def _at_once(self, act: Callable[[Any], None], what: object) -> None:
        """Carry out an action that is done whole or not at all: one that fails was none."""
        try:
            act(what)
        except NodeError:
            self.actions.pop()
            raise

    def _restarts(self, name: str, away: float | None = None) -> None:
        self.restarting.append({"name": name, "turn": self.turn, "away": away})

    def _struck(self, names: Sequence[str]) -> None:
        self.asked = [name for name in self.asked if name not in names]

    def _done(self, *names: str) -> None:
        if not self.plan:
            restarts.strike(self.params["pending"], names)

    def _kernel(self) -> None:
        for name in kernel.modules(_text(Path(kernel.MODULES_FILE))):
            if not kernel.is_loaded(name) and self._do("load module", name):
                self._at_once(kernel.load, name)
        pattern = PurePosixPath(kernel.SYSCTL_FILES)
        texts = [_text(path) for path in sorted(Path(pattern.parent).glob(pattern.name))]
        for parameter in kernel.parameters(texts).values():
            value = kernel.read(parameter)
            if value == parameter.value or (value is None and parameter.may_miss):
                continue
            if self._do(f"set to {parameter.value!r} from {value!r}", parameter.path):
                self._at_once(kernel.write, parameter)
        self._done("modules", "sysctl")

    def _show(self, names: Sequence[str]) -> dict[str, units.Unit]:
        """Their states now; in a plan, which changes none, each is asked for once."""
        if not self.plan:
            return units.show(names)
        self.shown |= units.show([name for name in names if name not in self.shown])
        return {name: self.shown[name] for name in names}

    def _gone(self) -> None:
        """Units whose files have left, before systemd forgets how they stop."""
        gone = [name for name in self.asked if name.startswith(restarts.GONE)]
        for name, unit in units.show(name.removeprefix(restarts.GONE) for name in gone).items():
            if unit.active != "inactive" and self._do("stop", name):
                units.stop(unit, self.timeout)
            links = units.links(name)
            if links and self._do("disable", name):
                for link in links:
                    files.remove(link)
        self._struck(gone)
        self._done(*gone)

    def _reload(self) -> None:
        asked = [name for name in self.asked if _is_unit(name)]
        stale = any(unit.stale for unit in self._show([*self.wanted, *asked]).values())
        if ("daemon-reload" in self.asked or stale) and self._do("daemon-reload", "systemd"):
            units.systemctl("daemon-reload", timeout=self.timeout)
        self._done("daemon-reload")

    def _firewall(self) -> None:
        """Its unit stays active when its rules are changed by hand."""
        asked = firewall.UNIT in self.asked
        if firewall.UNIT in self.wanted and not asked:
            self.drift = firewall.difference(self.params["firewall"])
            self.asked += [firewall.UNIT] if self.drift else []

    def _way_in(self) -> None:
        """What decides who gets in, before anything else and with a way back."""
        decisive = [name for name in _DECIDES if name in self.wanted or name in self.asked]
        before = self._show(decisive)
        due = [name for name in decisive if self._is_due(before[name])]
        if due and not self.plan:
            way_back.prepare(sshd=way_back.SSHD in due)
            self._run_units(decisive)
            self.unconfirmed = True
        elif due:  # a run does these alone, and the rest after a new login
            self._run_units(decisive)
            self.wanted = {name: unit for name, unit in self.wanted.items() if name not in decisive}
            self.turn = 1

    def _is_due(self, unit: units.Unit) -> bool:
        started = self.wanted.get(unit.name, {}).get("state") == "started"
        return unit.name in self.asked if unit.runs else started

    def _units(self) -> None:
        self._run_units([*self.wanted, *(name for name in self.asked if _is_unit(name))])

    def _run_units(self, names: Sequence[str]) -> None:
        before = self._show(names)
        wanted = [name for name in before if name in self.wanted]
        for name in wanted:
            self._enable(before[name])
        acted = [name for name, unit in before.items() if self._start_or_restart(unit)]
        keep = [name for name in wanted if self.wanted[name]["state"] == "started"]
        if not self.plan:
            after = units.settle(list(dict.fromkeys([*keep, *acted])), self.params["steady"], self.timeout)
            self._note(acted, before, after)
            if self.quorum and etcd.UNIT in acted:
                self.quorum.after_restart(quorum.ETCD)
        done = [name for name in self.asked if name in before]
        self._done(*done)
        self._struck(done)

    def _enable(self, unit: units.Unit) -> None:
        enabled = self.wanted[unit.name]["enabled"]
        if unit.load == "not-found" and not self.plan and (enabled or self.wanted[unit.name]["state"] == "started"):
            raise NodeError(f"{unit.name}: there is no such unit on this node: place its file or install its package")
        if unit.load == "masked" and (enabled or self.wanted[unit.name]["state"] == "started"):
            raise NodeError(f"{unit.name}: is masked: run systemctl unmask {unit.name} on the node if that is wanted")
        if enabled is True and unit.file not in _RUNS_AT_BOOT and self._do("enable", unit.name):
            units.systemctl("enable", unit.name, timeout=self.timeout)
        elif enabled is False and unit.file in ("enabled", "enabled-runtime") and self._do("disable", unit.name):
            units.systemctl("disable", unit.name, timeout=self.timeout)

    def _start_or_restart(self, unit: units.Unit) -> bool:
        """Bring a unit to its state; True if it was (re)started, so that it is watched."""
        state = self.wanted.get(unit.name, {}).get("state")
        if state == "stopped":
            if (unit.runs or unit.active == "activating") and self._do("stop", unit.name):
                units.systemctl("stop", unit.name, timeout=self.timeout)
            return False
        if unit.runs and unit.name in self.asked:
            verb = "restart"
        elif state == "started" and not unit.runs:
            verb = "start"
        else:
            return False
        if verb == "restart":
            if self.quorum and unit.name == etcd.UNIT and not self.plan:
                self.quorum.before_restart(quorum.ETCD)
            self._restarts(unit.name)
        if self._do(verb, unit.name):
            units.begin(verb, unit, self.timeout)
        return True

    def _note(self, acted: list[str], before: dict[str, units.Unit], after: dict[str, units.Unit]) -> None:
        for name in acted:
            if after[name].since == before[name].since:
                raise NodeError(f"{name}: was restarted, but systemd has it active since before: look at its journal")
            self.restarted.append({"name": name, "before": before[name].since, "after": after[name].since})

    def _static_pod(self, item: str) -> None:
        name = item.removeprefix(restarts.STATIC_POD)
        before = static_pods.running(name)
        if before and self.quorum and not self.plan:
            self.quorum.before_restart(name)
            before = static_pods.running(name)
        if before:
            self._restarts(item, restarts.away(self.params["pending"], item) if self.plan else None)
        if before and self._do("restart", item):
            probe = static_pods.probe_of(_text(Path(self.params["manifests"]) / f"{name}.yaml"))
            static_pods.terminate(before)
            after, away = static_pods.await_new(name, before, probe, self.timeout)
            restarts.remember(self.params["pending"], item, away)
            self.restarting[-1]["away"] = away
            if self.quorum:
                self.quorum.after_restart(name)
            start = {"before": max(one.start for one in before), "after": max(one.start for one in after)}
            self.restarted.append({"name": item, **start})
        self._done(item)

    def _control_plane(self) -> None:
        for name in static_pods.CONTROL_PLANE:
            probe = static_pods.probe_of(_text(Path(self.params["manifests"]) / f"{name}.yaml"))
            if probe and not self.plan:
                static_pods.await_new(name, frozenset(), probe, self.timeout)
            elif probe and not static_pods.is_well(name, probe):
                self.silent.append(f"static pod {name}")

    def _service_proxy(self) -> None:
        if not self.plan:
            static_pods.await_service_proxy(self.timeout)
        elif not static_pods.answers(static_pods.SERVICE_PROXY):
            self.silent.append("kube-proxy")


def _is_unit(name: str) -> bool:
    return "." in name and not name.startswith((restarts.STATIC_POD, restarts.GONE))


def _text(path: Path) -> str:
    """The text of a file of the node's own; empty if it isn't there."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    plan: bool = module.check_mode
    lock = nullcontext() if plan else files.exclusively(str(Path(module.params["pending"]).parent))
    so_far: Callable[[], dict[str, Any]] = dict
    try:
        with lock:
            services = Services(module.params, plan=plan)
            so_far = services.so_far
            services.run()
    except NodeError as error:
        module.fail_json(msg=error.message, **so_far(), **error.details)
    module.exit_json(changed=bool(services.actions), unconfirmed=services.unconfirmed, **services.so_far())


if __name__ == "__main__":
    main()
