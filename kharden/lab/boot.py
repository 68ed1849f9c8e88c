"""Booting a node, and waiting until it has booted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.errors import RemoteError
from kharden.lab.disk import PLAIN_FOLDERS
from kharden.lab.machine import directory_argument, enter_arguments, find_machine, watched
from kharden.lab.model import bridge_name, machine_name
from kharden.lab.places import node_folder
from kharden.lab.programs import ProgramError, environment, last_line, path_of, run

if TYPE_CHECKING:
    from kharden.lab.cgroups import NodeGroups
    from kharden.lab.model import IPAddress, Lab, LabNode
    from kharden.lab.tree import Tree

_READY_SECONDS = 180.0
_LOOK_SECONDS = 0.1
_QUOTED_LINES = 5
_BOOTED = frozenset({"running", "degraded"})
_MODULES = Path("/lib/modules")


def start_machine(lab: Lab, node: LabNode, tree: Tree, groups: NodeGroups) -> None:
    """Boot the node in the background; it outlives this process.

    Raises:
        ProgramError: its overlay or its control groups could not be had.
    """
    folder = node_folder(lab.name, node.name)
    overlay = f"lowerdir={tree.root},upperdir={folder}/upper,workdir={folder}/work"
    order = {
        "launcher_groups": [str(group) for group in groups.launcher],
        "groups": [str(group) for group in groups.node],
        "overlay": overlay,
        "root": str(folder / "root"),
        "console": str(console_log(lab.name, node.name)),
        "arguments": nspawn_arguments(lab, node, by_hand=bool(groups.node)),
        "environment": {
            **environment(),
            # Without these a newer systemd-nspawn refuses v1, and /proc/sys and /sys stay read-only.
            "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE": "1",
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1",
        },
    }
    run(
        [
            *(path_of("unshare", "util-linux"), "--mount", "--propagation", "private"),
            *(sys.executable, "-I", str(Path(__file__).with_name("launch.py"))),
            directory_argument(lab.name, node.name),
        ],
        what=f"starting the node {node.name}",
        given=json.dumps(order),
    )


def nspawn_arguments(lab: Lab, node: LabNode, *, by_hand: bool) -> list[str]:
    """systemd-nspawn(1) for a node; `by_hand`: its control groups are made by us, not by the host's systemd."""
    folder = node_folder(lab.name, node.name)
    if by_hand:
        scope = ["--keep-unit"]
    else:
        # A node decides itself about devices and the number of its tasks, as a real machine does.
        scope = ["--property=Delegate=yes", "--property=DevicePolicy=auto", "--property=TasksMax=infinity"]
    return [
        path_of("systemd-nspawn", "systemd-container"),
        *("--quiet", "--boot", "--register=no", "--settings=no", "--link-journal=no"),
        *("--resolv-conf=off", "--timezone=off", "--console=read-only", *scope),
        *(directory_argument(lab.name, node.name), f"--machine={machine_name(lab.name, node.name)}"),
        *(f"--hostname={node.name}", f"--network-bridge={bridge_name(lab.name)}"),
        # kubelet, containerd and runc do in the node what they do on a machine; seccomp lets them.
        *("--capability=all", "--system-call-filter=@keyring bpf perf_event_open @mount"),
        "--bind=/dev/kmsg",
        *([f"--bind-ro={_MODULES}"] if _MODULES.is_dir() else []),
        *(f"--bind={folder / name}:/var/lib/{name}" for name in PLAIN_FOLDERS),
    ]


def console_log(lab_name: str, node_name: str) -> Path:
    """What the node wrote to its console since it was started."""
    return node_folder(lab_name, node_name) / "console.log"


def wait_ready(lab: Lab, node: LabNode) -> None:
    """Wait until sshd answers and systemd has finished booting.

    Raises:
        RemoteError: the node died, or took longer than three minutes; with the console's last lines.
    """
    deadline = time.monotonic() + _READY_SECONDS
    machine = find_machine(lab.name, node.name)
    if machine is None:
        raise _failed(lab, node, "died while starting")
    with watched(machine.pid) as ended:
        while not _answers(lab, node):
            if ended(_LOOK_SECONDS):
                raise _failed(lab, node, "died while starting")
            if time.monotonic() > deadline:
                raise _failed(lab, node, "did not start its ssh server in time")
    state = _boot_state(lab.name, node.name, deadline - time.monotonic())
    if state not in _BOOTED:
        raise _failed(lab, node, f"did not boot: systemd says {state}")


def check_reach(lab: Lab, source: LabNode, target: LabNode) -> None:
    """Check that one node reaches another in each family: a host's firewall may drop what passes its bridges.

    Raises:
        RemoteError: it doesn't.
    """
    machine = find_machine(lab.name, source.name)
    if machine is None or machine.leader is None:
        raise _failed(lab, source, "died after starting")
    try:
        for address in target.addresses[: len(source.addresses)]:
            run(
                _in_network(machine.leader, address, target.port, "connection.close()"),
                what=f"connecting from {source.name} to {target.name} ({address})",
            )
    except ProgramError as error:
        bridge = bridge_name(lab.name)
        raise RemoteError(
            f"lab {lab.name}: {source.name} doesn't reach {target.name}",
            remedy=f"let this machine's firewall forward what comes from {bridge} and goes to {bridge}",
            details=(error.message,),
        ) from None


def _answers(lab: Lab, node: LabNode) -> bool:
    """Asked from inside: a node that was hardened already may not let this machine in."""
    machine = find_machine(lab.name, node.name)
    if machine is None or machine.leader is None:
        return False
    try:
        asked = _in_network(machine.leader, node.address, node.port, "print(connection.recv(4))")
        return run(asked, what="").strip() == "b'SSH-'"
    except ProgramError:
        return False


def _in_network(leader: int, address: IPAddress, port: int, then: str) -> list[str]:
    """A program that connects from within a node's network, and what it does `then`."""
    place = (str(address), port)
    probe = f"import socket; connection = socket.create_connection({place!r}, timeout=3); {then}"
    enter = [path_of("nsenter", "util-linux"), f"--target={leader}", "--net"]
    return [*enter, sys.executable, "-I", "-c", probe]


def _boot_state(lab_name: str, node_name: str, seconds: float) -> str:
    machine = find_machine(lab_name, node_name)
    if machine is None or machine.leader is None:
        return "nothing any more"
    done = subprocess.run(
        [*enter_arguments(machine.leader), "systemctl", "is-system-running", "--wait"],
        capture_output=True,
        text=True,
        env=environment(),
        stdin=subprocess.DEVNULL,
        timeout=max(1.0, seconds),
        check=False,
    )
    return last_line(done.stdout) or last_line(done.stderr)


def _failed(lab: Lab, node: LabNode, how: str) -> RemoteError:
    log = console_log(lab.name, node.name)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    said = [line.strip() for line in lines if line.strip()][-_QUOTED_LINES:]
    return RemoteError(f"the lab's node {node.name} {how}", remedy=f"its console is in {log}", details=said)
