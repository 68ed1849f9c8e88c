# SPDX-License-Identifier: Apache-2.0
"""Ansible module: whether a machine can be a node, and whether there is anything to do on it; all in one task."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:  # the same files, where mypy finds them
    from collections.abc import Callable, Iterator

    from playbooks.library import converge, images, kubeadm, objects, preflight, services, staged
    from playbooks.module_utils.kharden import api_objects, health, restarts, uploads
    from playbooks.module_utils.kharden.errors import NodeError
else:
    # The other modules themselves (see kharden.apply.runner): what is found here is what they would find.
    from ansible.module_utils import converge, images, kubeadm, objects, preflight, services, staged
    from ansible.module_utils.kharden import api_objects, health, restarts, uploads
    from ansible.module_utils.kharden.errors import NodeError

DOCUMENTATION = r"""
module: look
short_description: Look whether a machine can be a node, and whether anything is to be done
description:
  - Fails with everything that is in the way, as M(preflight) does. It changes nothing.
  - Then finds out whether one of the modules C(images), C(converge), C(services) and C(kubeadm) would do anything on
    this node, and C(objects) in the cluster. It is their own code that looks, in check mode.
  - It stops at the first thing to do, since the modules themselves tell each. What can't be looked at counts as
    something to do, so that the module in whose way it is says so.
version_added: "0.1.0"
author:
  - The kharden authors
options:
  expectations:
    description: What the machine must be like, see M(preflight).
    type: dict
    required: true
  payload:
    description: The files, see M(converge).
    type: str
    required: true
  images:
    description: The images, see M(images).
    type: list
    elements: dict
    default: []
  units:
    description: The units, see M(services).
    type: list
    elements: dict
    default: []
  stored:
    description: Whether a member of etcd must have its data here.
    type: bool
    default: false
  kubeadm:
    description: What kubeadm makes here, phases of M(kubeadm).
    type: list
    elements: str
    default: []
  cluster:
    description: What to ask the API for, on one of the control planes.
    type: dict
    suboptions:
      objects:
        description: The objects, see M(objects).
        type: list
        elements: dict
        default: []
      nodes:
        description: Nodes that must be ready.
        type: list
        elements: str
        default: []
      workloads:
        description: Daemon sets and deployments of kube-system that must be rolled out, as C(DaemonSet/kube-proxy).
        type: list
        elements: str
        default: []
attributes:
  check_mode:
    description: It never changes anything.
    support: full
  diff_mode:
    description: What differs is told by the other modules.
    support: none
"""

EXAMPLES = r"""
- name: Look at the machine, change nothing
  look:
    expectations: "{{ expectations }}"
    payload: "{{ lookup('file', build_folder ~ '/payload') }}"
  register: looked
"""

RETURN = r"""
member:
  description: Whether the machine is a node of the cluster; whether an init or a join was done to its end.
  returned: always
  type: bool
dns:
  description: Whether the cluster's DNS was installed from here.
  returned: always
  type: bool
pending:
  description: What an earlier run has left to restart.
  returned: always
  type: list
  elements: str
busy:
  description: What there is to do on the node, the first thing only; empty if nothing.
  returned: always
  type: str
  sample: "files: /etc/hosts and 2 more"
cluster_busy:
  description: What there is to do in the cluster, the same way.
  returned: always
  type: str
notes:
  description: What a person should know where nothing is done about it.
  returned: always
  type: list
  elements: str
"""

_CLUSTER = {
    "objects": {"type": "list", "elements": "dict", "default": []},
    "nodes": {"type": "list", "elements": "str", "default": []},
    "workloads": {"type": "list", "elements": "str", "default": []},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "expectations": preflight.ARGUMENTS["expectations"],
    "payload": {"type": "str", "required": True, "no_log": True},
    "images": {"type": "list", "elements": "dict", "default": []},
    "units": services.ARGUMENTS["units"],
    "stored": {"type": "bool", "default": False},
    "kubeadm": {"type": "list", "elements": "str", "default": []},
    "cluster": {"type": "dict", "options": _CLUSTER},
}
_LOOKED_AT = "nodes,certificatesigningrequests,daemonsets,deployments"
_CONFIGURATION = "/etc/kharden/kubeadm/init.yaml"
_STAGING = str(staged.ARGUMENTS["staging"]["default"])
_SERVING = Path("/var/lib/kubelet/pki/kubelet-server-current.pem")


def arguments(of: dict[str, Any], **values: object) -> dict[str, Any]:
    """Another module's arguments: its defaults, and `values`."""
    return {name: option.get("default") for name, option in of.items()} | values


class Look:
    """What there is to do, the cheapest to find out first."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.notes: list[str] = []

    def node(self) -> str:
        """The first thing to do on this node."""
        return _told(lambda: next(filter(None, self._node()), ""))

    def _node(self) -> Iterator[str]:
        waiting = sorted(restarts.pending() - uploads.RESTARTS)
        yield f"left by an earlier run: {waiting[0]}" if waiting else ""
        yield "left by an earlier run: what it had brought" if staged.clean(_STAGING, plan=True) else ""
        yield "etcd has no data here" if self.params["stored"] and not preflight.state()["stored"] else ""
        yield self._images()
        yield self._files()
        yield self._services()
        for phase in self.params["kubeadm"]:
            yield self._kubeadm(phase)

    def _images(self) -> str:
        if not self.params["images"]:
            return ""  # a machine without pods has no runtime to ask
        given = arguments(images.ARGUMENTS)
        there = images.Runtime(given["ctr"], given["address"]).images()
        missing = images.different(self.params["images"], there)
        return f"images: {missing[0]['reference']}" if missing else ""

    def _files(self) -> str:
        found = converge.unsettled(arguments(converge.ARGUMENTS, payload=self.params["payload"]))
        return f"files: {found}" if found else ""

    def _services(self) -> str:
        pods = {
            "control_plane": "static-pods" in self.params["kubeadm"],
            "service_proxy": "kubelet-config" in self.params["kubeadm"],
        }
        given = arguments(services.ARGUMENTS, units=self.params["units"], **pods)
        found = services.Services(given, plan=True)
        found.run()
        if found.silent:
            return f"{found.silent[0]} doesn't answer"
        return "services: {action} {name}".format(**found.actions[0]) if found.actions else ""

    def _kubeadm(self, phase: str) -> str:
        # The files were as they should be, so what lies on the node is what would be given.
        found = kubeadm.Comparison(arguments(kubeadm.ARGUMENTS, phase=phase, config=_CONFIGURATION), plan=True)
        if not found.run():
            return f"{phase}: kubeadm has made nothing here"
        if phase == "kubelet-config" and not _SERVING.exists():
            return "the kubelet has no serving certificate"
        return f"{phase}: {found.changes[0].path}" if found.changes else ""

    def cluster(self) -> list[str]:
        """The first thing to do in the cluster, or "", and what a person should know."""
        return [_told(self._cluster), *self.notes]

    def _cluster(self) -> str:
        if self.params["cluster"] is None:
            return ""
        if not preflight.state()["dns"]:
            return "DNS isn't installed"
        given = arguments(objects.ARGUMENTS)
        api = api_objects.Kubectl(given["kubectl"], given["kubeconfig"], given["cache"])
        # kubeadm is started by a process with one thread.
        texts = kubeadm.Comparison(
            arguments(kubeadm.ARGUMENTS, phase="uploads", config=_CONFIGURATION), plan=True
        ).texts()
        parts = (
            lambda: self._health(api),
            lambda: self._objects(api, given["prune"]),
            lambda: self._uploads(api, texts),
        )
        with ThreadPoolExecutor() as pool:
            return next(filter(None, pool.map(_told, parts)), "")

    def _health(self, api: api_objects.Kubectl) -> str:
        wanted = self.params["cluster"]
        items = api.all_of(_LOOKED_AT, "--namespace=kube-system")
        unwell = health.unwell(items, wanted["nodes"], wanted["workloads"])
        return f"health: {unwell[0]}" if unwell else ""

    def _objects(self, api: api_objects.Kubectl, prune: list[str]) -> str:
        found = objects.Comparison(api, self.params["cluster"]["objects"], prune)
        found.run(plan=True)
        self.notes += found.notes
        return f"objects: {found.changes[0]['path']}" if found.changes else ""

    def _uploads(self, api: api_objects.Kubectl, texts: dict[uploads.Part, dict[str, uploads.Texts]]) -> str:
        if waiting := sorted(restarts.pending() & uploads.RESTARTS):
            return f"left by an earlier run: {waiting[0]}"
        found = uploads.differences(api, texts)
        return f"uploads: {found[0][1]['path']}" if found else ""


def _told(part: Callable[[], str]) -> str:
    """What `part` finds, or what is in its way."""
    try:
        return part()
    except NodeError as error:
        return error.message
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return f"it can't be looked at ({type(error).__name__})"


class Apart:
    """A part that runs beside the others, in a process of its own: kubeadm's needs one without threads."""

    def __init__(self, part: Callable[[], list[str]]) -> None:
        self._source, target = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setpgid(0, 0)  # with what it starts
                os.write(target, json.dumps(part()).encode())
            finally:
                os._exit(0)
        os.close(target)
        with suppress(OSError):  # whoever of both comes first
            os.setpgid(self._pid, self._pid)

    def result(self) -> list[str]:
        """What it found; waits for it."""
        with os.fdopen(self._source) as stream:
            found = stream.read()
        os.waitpid(self._pid, 0)
        return list(json.loads(found)) if found else ["it can't be looked at"]

    def stop(self) -> None:
        """End it: nobody wants to know any more."""
        with suppress(OSError):
            os.killpg(self._pid, signal.SIGKILL)
        self.result()


def _pending() -> list[str]:
    try:
        return sorted(restarts.pending())
    except NodeError:  # its own phase tells that
        return []


def look(params: dict[str, Any]) -> dict[str, Any]:
    """What the module returns."""
    own, remarks = Look(params), preflight.remarks(params["expectations"])
    state: dict[str, Any] = preflight.state() | {"pending": _pending(), "notes": remarks}
    if not state["member"]:
        return {**state, "busy": "it is no member of the cluster yet", "cluster_busy": ""}
    beside = Apart(own.cluster)
    busy = own.node()
    if busy:  # then what there is to know of the cluster is told when its turn comes
        beside.stop()
        return {**state, "busy": busy, "cluster_busy": ""}
    cluster_busy, *notes = beside.result()
    return {**state, "busy": "", "cluster_busy": cluster_busy, "notes": remarks + ([] if cluster_busy else notes)}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    preflight.fail_where_unfit(module, module.params["expectations"])
    module.exit_json(changed=False, **look(module.params))


if __name__ == "__main__":
    main()
