# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the files that kubeadm makes, compared with what it would make now."""

from __future__ import annotations

import io
import posixpath
from contextlib import nullcontext
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:  # the same files, where mypy finds them
    from collections.abc import Callable

    from playbooks.module_utils.kharden import (
        api_objects,
        changes,
        files,
        kubeadm_phases,
        quorum,
        restarts,
        static_pods,
        units,
        uploads,
    )
    from playbooks.module_utils.kharden.errors import NodeError
else:
    from ansible.module_utils.kharden import (
        api_objects,
        changes,
        files,
        kubeadm_phases,
        quorum,
        restarts,
        static_pods,
        units,
        uploads,
    )
    from ansible.module_utils.kharden.errors import NodeError

DOCUMENTATION = r"""
module: kubeadm
short_description: Static pod manifests and kubelet settings as kubeadm would make them now
description:
  - Lets kubeadm write its files into a private folder from a configuration of kind init, and compares them with those
    of the node. C(kubeadm upgrade) doesn't do this; it ignores a changed configuration.
  - Manifests are put in place one after the other, each only after the process of the one before it was seen to start
    anew and to answer its probe. Where that fails the old manifest is put back and the rest isn't touched.
  - Owner and mode are put right as well (0600, root), which restarts nothing.
version_added: "0.1.0"
author:
  - The kharden authors
options:
  config:
    description: The path of kubeadm's configuration on the node, with kinds InitConfiguration, ClusterConfiguration
      and KubeletConfiguration. Workers need one too, since it tells what their kubelet should be given.
    type: path
    required: true
  phase:
    description: Which files. C(static-pods) is for control planes, C(kubelet-config) for every node. C(uploads) is for
      one control plane, once all run with what it is to upload, and means ConfigMaps in place of files - those that
      joins are made of (kubeadm's configuration and the kubelet's) and the service proxy's, which restarts node by node
      where it has other settings.
    type: str
    required: true
    choices: [static-pods, kubelet-config, uploads]
  names:
    description: Which static pods.
    type: list
    elements: str
    choices: [etcd, kube-apiserver, kube-controller-manager, kube-scheduler]
    default: [etcd, kube-apiserver, kube-controller-manager, kube-scheduler]
  kubectl:
    description: The program by which C(uploads) looks at the API.
    type: path
    default: /usr/local/bin/kubectl
  kubeconfig:
    description: How that reaches the API.
    type: path
    default: /etc/kubernetes/admin.conf
  content:
    description: The text to use in place of what lies at O(config), for a plan whose files aren't placed yet.
    type: str
  patches:
    description: With O(content), the names and texts of the patches, in place of what lies in O(patches_folder).
    type: dict
  patches_folder:
    description: The folder that O(content) names as C(patches.directory).
    type: path
    default: /etc/kharden/kubeadm/patches
  program:
    description: kubeadm itself.
    type: path
    default: /usr/local/bin/kubeadm
  certificates:
    description: The folder of certificates, which is hidden from kubeadm here.
    type: path
    default: /etc/kubernetes/pki
  manifests:
    description: The folder of static pod manifests.
    type: path
    default: /etc/kubernetes/manifests
  kubelet_folder:
    description: The kubelet's folder.
    type: path
    default: /var/lib/kubelet
  scratch:
    description: Where the private folder is made for a moment. It should be on tmpfs.
    type: path
    default: /run
  quorum:
    description: Whose majority a restart must not take, C(node) and C(peers) as of M(quorum). It is waited until etcd
      and another API server can do without this node's; where that doesn't come, nothing is changed.
    type: dict
  kubelet:
    description: The unit that starts what manifests name. Where one changes it is started if it is down, and begins
      anew if it hasn't started the old one yet; with an empty name nothing is.
    type: str
    default: kubelet.service
  pending:
    description: Where the list of what still has to restart lies.
    type: path
    default: /var/lib/kharden/pending.json
  timeout:
    description: Seconds that a static pod may take until its new process answers.
    type: int
    default: 180
attributes:
  check_mode:
    description: Reports what differs and changes nothing but the private folder, which is gone afterwards.
    support: full
  diff_mode:
    description: A unified diff for each file.
    support: full
notes:
  - Taints of a worker belong into C(kubeletExtraArgs) as C(register-with-taints), with C(taints) empty. A join writes
    C(taints) into the kubelet's flags and an init doesn't, so they would differ for ever.
"""

EXAMPLES = r"""
- name: Static pods of the control plane
  kubeadm:
    config: /etc/kharden/kubeadm/init.yaml
    phase: static-pods

- name: Settings of the kubelet
  kubeadm:
    config: /etc/kharden/kubeadm/init.yaml
    phase: kubelet-config
  register: kubelet
"""

RETURN = r"""
changes:
  description: As of C(converge).
  returned: always
  type: list
  elements: dict
restarted:
  description: Which static pods were seen to have restarted, with the processes' starts in clock ticks since boot.
  returned: always
  type: list
  elements: dict
  sample: [{name: static-pod/etcd, before: 8123, after: 99234}]
restarting:
  description: Which static pods restart, in order, also in check mode, as of C(services).
  returned: always
  type: list
  elements: dict
restarts:
  description: What has to restart now. The kubelet after a change of its settings. Static pods have restarted already.
  returned: always
  type: list
  elements: str
initialised:
  description: False in check mode where kubeadm hasn't made these files yet. There is nothing to compare then.
  returned: always
  type: bool
"""

PODS = static_pods.CONTROL_PLANE
KUBELET = "kubelet.service"
ARGUMENTS = {
    "config": {"type": "path", "required": True},
    "phase": {"type": "str", "required": True, "choices": ["static-pods", "kubelet-config", "uploads"]},
    "names": {"type": "list", "elements": "str", "choices": list(PODS), "default": list(PODS)},
    "content": {"type": "str"},
    "patches": {"type": "dict"},
    "patches_folder": {"type": "path", "default": "/etc/kharden/kubeadm/patches"},
    "program": {"type": "path", "default": "/usr/local/bin/kubeadm"},
    "certificates": {"type": "path", "default": "/etc/kubernetes/pki"},
    "manifests": {"type": "path", "default": static_pods.MANIFESTS},
    "kubelet_folder": {"type": "path", "default": "/var/lib/kubelet"},
    "scratch": {"type": "path", "default": "/run"},
    "quorum": {"type": "dict"},
    "kubectl": {"type": "path", "default": "/usr/local/bin/kubectl"},
    "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
    "kubelet": {"type": "str", "default": KUBELET},
    "pending": {"type": "path", "default": restarts.PENDING},
    "timeout": {"type": "int", "default": 180},
}
_MODE = 0o600
_STEADY = 2.0  # seconds that a kubelet must stay up


class Comparison:
    """The files of one phase: what kubeadm would write, what lies there, and what was done about it."""

    def __init__(self, params: dict[str, Any], *, plan: bool) -> None:
        self.params = params
        self.plan = plan
        self.changes: list[changes.Change] = []
        self.done: list[dict[str, Any]] = []  # of these and of what is uploaded, what has taken effect
        self.uploaded: list[dict[str, Any]] = []
        self.restarted: list[dict[str, Any]] = []
        self.restarting: list[dict[str, Any]] = []
        self.restarts: list[str] = []
        self.quorum = quorum.quorum(params["quorum"], params["timeout"])

    def run(self) -> bool:
        """Compare, and repair unless it is a plan; False where kubeadm has made nothing here yet."""
        static = self.params["phase"] != "kubelet-config"
        if not self._is_initialised(static=static):
            if self.plan:
                return False
            raise NodeError(
                f"{self.params['phase']}: kubeadm hasn't made these files yet: init or join this node first"
            )
        {"static-pods": self._static_pods, "kubelet-config": self._kubelet, "uploads": self._uploads}[
            self.params["phase"]
        ]()
        return True

    def _is_initialised(self, *, static: bool) -> bool:
        if static:
            return any(files.look(f"{self.params['manifests']}/{name}.yaml") for name in PODS)
        return files.look(f"{self.params['kubelet_folder']}/config.yaml") is not None

    def _source(self) -> kubeadm_phases.Source:
        keys = ("program", "config", "certificates", "scratch", "content", "patches", "patches_folder")
        return kubeadm_phases.Source(**{key: self.params[key] for key in keys})

    def _static_pods(self) -> None:
        names = [name for name in PODS if name in self.params["names"]]
        phases = [["etcd", "local"]] if "etcd" in names else []
        phases += [["control-plane", "all"]] if set(names) - {"etcd"} else []
        with kubeadm_phases.written(self._source(), phases) as written:
            for name in names:
                if (file := f"{name}.yaml") in written:  # none for an etcd elsewhere
                    self._static_pod(name, f"{self.params['manifests']}/{file}", written[file])

    def texts(self) -> dict[uploads.Part, dict[str, uploads.Texts]]:
        """What kubeadm would upload."""
        return uploads.wanted(self._source())

    def _uploads(self) -> None:
        api = api_objects.Kubectl(self.params["kubectl"], self.params["kubeconfig"], "/run/kharden-kubectl")
        found = uploads.differences(api, self.texts())
        self.uploaded = [told for _, told in found]
        waiting = restarts.pending(self.params["pending"])  # what a run that was cut off has uploaded
        due = {name for told in self.uploaded for name in told["restarts"]} | waiting.intersection(uploads.RESTARTS)
        if self.plan:
            self.restarting += [{"name": name, "turn": 0} for name in sorted(due)]
            return
        restarts.add(self.params["pending"], due)
        for part in dict.fromkeys(part for part, _ in found):
            uploads.upload(self._source(), part)
            self.done += [told for of, told in found if of == part]
        for name in sorted(due):
            uploads.restart(api, name)
            self.restarting.append({"name": name, "turn": 0})
            restarts.strike(self.params["pending"], [name])

    def _static_pod(self, name: str, path: str, wanted: bytes) -> None:
        present = _content(path)
        if name == "etcd" and present is not None:
            wanted = kubeadm_phases.keep_membership(wanted.decode(), present.decode(errors="replace")).encode()
        item = f"{restarts.STATIC_POD}{name}"
        change = self._compare(path, wanted, item)
        if change and self.plan and item in change.restarts and static_pods.running(name):
            self.restarting.append({"name": item, "turn": 0, "away": restarts.away(self.params["pending"], item)})
        if not change or self.plan:
            return
        if change.action == "attributes":
            files.set_attributes(path, files.own(_MODE))
            self.done.append(change.as_result())
            return
        if name == "etcd" and present is None:
            raise NodeError(f"{path}: is missing, and kubeadm can't tell the other members: restore it, or join again")
        self._install(name, change, wanted, present)

    def _install(self, name: str, change: changes.Change, wanted: bytes, present: bytes | None) -> None:
        path = change.path
        if self.quorum and present is not None:
            self.quorum.before_restart(name)
        item = f"{restarts.STATIC_POD}{name}"
        before = static_pods.running(name)
        # Where this run is cut off the next one can't tell by the file whether the old process is still there.
        waited = item in restarts.pending(self.params["pending"])
        restarts.add(self.params["pending"], [item])
        _write(path, wanted)
        self.done.append(change.as_result())
        if before:
            self.restarting.append({"name": item, "turn": 0, "away": None})
        if unit := self.params["kubelet"]:
            self._have_started(unit, anew=not before)
        try:
            after, away = static_pods.await_new(
                name, before, static_pods.probe_of(wanted.decode()), self.params["timeout"]
            )
            if self.quorum:
                self.quorum.after_restart(name)
        except NodeError as error:
            back = self._put_back(name, path, present)
            if not waited:
                restarts.strike(self.params["pending"], [item])
            raise NodeError(f"{error.message}; {back}") from None
        if before:
            restarts.remember(self.params["pending"], item, away)
            self.restarting[-1]["away"] = away
        start = {"before": max((one.start for one in before), default=0), "after": max(one.start for one in after)}
        self.restarted.append({"name": item, **start})
        restarts.strike(self.params["pending"], [item])

    def _have_started(self, unit: str, *, anew: bool) -> None:
        """Start the kubelet where it is down; `anew` also where it runs, so that it knows no other manifest.

        It starts a static pod when it has done with the one of the same name before, and never has while the API is
        away: an API server whose manifest changes before the kubelet has started it would wait for itself.
        """
        state = units.show([unit])[unit]
        if anew or not state.runs:
            units.begin("restart", state, self.params["timeout"])
            units.settle([unit], _STEADY, self.params["timeout"])

    def _put_back(self, name: str, path: str, present: bytes | None) -> str:
        """Restore the old manifest, and tell whether what it describes runs again."""
        if present is None:
            files.remove(path)
            self.done.pop()
            return f"{path} was removed again"
        _write(path, present)
        self.done.pop()
        try:
            static_pods.await_new(
                name, frozenset(), static_pods.probe_of(present.decode(errors="replace")), self.params["timeout"]
            )
        except NodeError:
            return f"the old {path} is back but {name} doesn't answer yet"
        return f"the old {path} is back and {name} answers"

    def so_far(self) -> dict[str, Any]:
        """What has taken effect, less a manifest that was put back."""
        return {"changes": self.done, "restarted": self.restarted, "restarting": self.restarting}

    def _kubelet(self) -> None:
        with kubeadm_phases.written(self._source(), [["kubelet-start"]]) as written:
            found = [
                (path, content, change)
                for name, content in sorted(written.items())
                if (change := self._compare(path := f"{self.params['kubelet_folder']}/{name}", content, KUBELET))
            ]
        read_again = any(change.restarts for _, _, change in found)
        if read_again or KUBELET in restarts.pending(self.params["pending"]):
            self.restarts = [KUBELET]
        if self.plan:
            return
        if read_again:
            restarts.add(self.params["pending"], [KUBELET])
        for path, content, change in found:
            if change.action == "attributes":
                files.set_attributes(path, files.own(_MODE))
            else:
                _write(path, content)
            self.done.append(change.as_result())

    def _compare(self, path: str, wanted: bytes, restart: str) -> changes.Change | None:
        """Note how `path` differs from `wanted`; None if it doesn't."""
        found, mine = files.look(path), files.own(_MODE)
        if found and found.kind not in ("file", "symlink"):
            raise NodeError(f"{path}: a file belongs here, but this is a {found.kind}: move it away")
        if found is None:
            action = "create"
        elif found.kind == "symlink":
            action = "replace"
        elif _content(path) != wanted:
            action = "update"
        elif found.attributes != mine:
            action = "attributes"
        else:
            return None
        after = changes.Side("file", files.user(mine.uid), files.group(mine.gid), f"{_MODE:04o}", content=wanted)
        before = changes.side(path, found, with_content=True) if found else None
        again = () if action == "attributes" else (restart,)
        self.changes.append(changes.Change(path, action, before, after, again))
        return self.changes[-1]


def _content(path: str) -> bytes | None:
    found = files.look(path)
    if found is None or found.kind != "file":
        return None
    with files.reading(path) as stream:
        return stream.read()


def _write(path: str, content: bytes) -> None:
    files.prepare(path, io.BytesIO(content), files.own(_MODE), sha256=sha256(content).hexdigest())
    files.commit(path)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    plan: bool = module.check_mode
    lock = nullcontext() if plan else files.exclusively(posixpath.dirname(module.params["pending"]))
    so_far: Callable[[], dict[str, Any]] = dict
    try:
        comparison = Comparison(module.params, plan=plan)
        so_far = comparison.so_far
        with lock:
            initialised = comparison.run()
    except NodeError as error:
        module.fail_json(msg=error.message, **so_far(), **error.details)
    result: dict[str, Any] = {
        "changed": bool(comparison.changes or comparison.uploaded or comparison.restarting),
        "changes": [change.as_result() for change in comparison.changes] + comparison.uploaded,
        "restarted": comparison.restarted,
        "restarting": comparison.restarting,
        "restarts": comparison.restarts,
        "initialised": initialised,
    }
    if module._diff:  # noqa: SLF001 - Ansible's own name for --diff
        result["diff"] = [{"prepared": changes.prepared(change)} for change in comparison.changes]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
