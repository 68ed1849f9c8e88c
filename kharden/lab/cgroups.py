"""Control groups: which version this host has, and a group of its own for every node.

Under systemd, systemd-nspawn gets a delegated scope from it and nothing is to be done here. Where there is no
systemd (many CI sandboxes), the groups are made by hand, before systemd-nspawn unshares the cgroup namespace: nodes
that share a group share /kubepods too, and each kubelet removes the other's pods.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kharden.errors import KhardenError, MissingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MOUNTINFO_SEPARATOR = " - "
_REMOVAL_SECONDS = 10.0
# No node bears this name: labels have no underscore.
_LAUNCHERS = "_launchers"
# What a kubelet needs of cgroup v2 (kubernetes.io, "About cgroup v2").
_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy, as /proc/self/mountinfo shows it (cgroups(7)).

    Attributes:
        mount_point: where it is mounted.
        root: which of its groups is mounted there; "/" unless this is a container.
        version: 1 or 2.
        controllers: v1 controllers, or "name=systemd" for a named hierarchy; empty for v2.
    """

    mount_point: Path
    root: str
    version: Literal[1, 2]
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class NodeGroups:
    """The folders of a node's groups, and of those of the process that starts it; none where systemd makes them."""

    node: tuple[Path, ...]
    launcher: tuple[Path, ...]


def parse_mounts(mountinfo: str) -> tuple[Hierarchy, ...]:
    """The cgroup hierarchies of a /proc/PID/mountinfo (proc_pid_mountinfo(5))."""
    found = []
    for line in mountinfo.splitlines():
        mount, separator, kind = line.partition(_MOUNTINFO_SEPARATOR)
        fields, kinds = mount.split(), kind.split()
        if not separator or not kinds or kinds[0] not in {"cgroup", "cgroup2"}:
            continue
        options = frozenset(kinds[2].split(",")) - {"rw", "ro"}
        found.append(
            Hierarchy(
                mount_point=Path(fields[4]),
                root=fields[3],
                version=2 if kinds[0] == "cgroup2" else 1,
                controllers=frozenset() if kinds[0] == "cgroup2" else options,
            )
        )
    return tuple(found)


def parse_membership(cgroup: str) -> dict[frozenset[str], str]:
    """A /proc/PID/cgroup as {controllers: group}; no controllers means v2 (cgroups(7))."""
    groups = {}
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        groups[frozenset(filter(None, controllers.split(",")))] = path
    return groups


def version(hierarchies: Iterable[Hierarchy]) -> Literal[1, 2]:
    """1 where any v1 controller is mounted: what is there is then missing from v2. Otherwise 2."""
    for hierarchy in hierarchies:
        if hierarchy.version == 1 and any(not name.startswith("name=") for name in hierarchy.controllers):
            return 1
    return 2


def own_groups(hierarchies: Iterable[Hierarchy], membership: dict[frozenset[str], str]) -> tuple[Path, ...]:
    """The folders of the groups that a process with this membership is in: limits set on it hold for the lab too."""
    folders = []
    for hierarchy in hierarchies:
        group = membership.get(hierarchy.controllers)
        if group is None:
            group = next((path for names, path in membership.items() if names & hierarchy.controllers), None)
        if group is None:
            continue
        below = group.removeprefix(hierarchy.root.rstrip("/")).strip("/")
        folders.append(hierarchy.mount_point / below if below else hierarchy.mount_point)
    return tuple(dict.fromkeys(folders))


def host_hierarchies() -> tuple[Hierarchy, ...]:
    """The hierarchies that this process sees."""
    return parse_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))


def host_groups() -> tuple[Path, ...]:
    """The folders of this process's own groups."""
    return own_groups(host_hierarchies(), parse_membership(Path("/proc/self/cgroup").read_text(encoding="utf-8")))


def has_systemd() -> bool:
    """Whether systemd runs this host (sd_booted(3)), and so gives systemd-nspawn a delegated scope."""
    return Path("/run/systemd/system").is_dir()


def lab_groups(lab_name: str) -> tuple[Path, ...]:
    """The lab's groups for nodes started by this process, below its own; none where systemd does it."""
    return () if has_systemd() else tuple(group / f"kharden-{lab_name}" for group in host_groups())


def find_groups(lab_name: str, machines: Iterable[str]) -> tuple[Path, ...]:
    """The lab's groups that are there, wherever the process was that made them, and the scopes of its machines."""
    names = {f"kharden-{lab_name}", *(f"{machine}.scope" for machine in machines)}
    return tuple(
        Path(folder) / name
        for hierarchy in host_hierarchies()
        for folder, folders, _ in os.walk(hierarchy.mount_point)
        for name in names.intersection(folders)
    )


def make_node_groups(groups: Sequence[Path], node_name: str) -> NodeGroups:
    """Make a node's groups in each of the lab's.

    Raises:
        MissingError: cgroup v2 whose controllers can't be handed down from here.
    """
    for group in groups:
        _hand_down(group.parent, group)
        _hand_down(group, group / node_name)
        _hand_down(group, group / _LAUNCHERS)
    return NodeGroups(tuple(group / node_name for group in groups), tuple(group / _LAUNCHERS for group in groups))


def _hand_down(parent: Path, child: Path) -> None:
    child.mkdir(exist_ok=True)
    # cpuset(7): a new v1 group has no CPU and no memory node, and takes no process until it has.
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (parent / "cgroup.clone_children").exists() and (parent / name).exists():
            (child / name).write_text((parent / name).read_text(encoding="ascii"), encoding="ascii")
    offered = parent / "cgroup.controllers"
    if not offered.exists():
        return
    wanted = [name for name in offered.read_text(encoding="ascii").split() if name in _CONTROLLERS]
    enabled = (parent / "cgroup.subtree_control").read_text(encoding="ascii").split()
    missing = [name for name in wanted if name not in enabled]
    if not missing:
        return
    try:
        (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in missing), encoding="ascii")
    except OSError as error:
        # cgroups(7), "no internal processes": only a group without processes hands its controllers down.
        if error.errno != errno.EBUSY:
            raise
        raise MissingError(
            f"{parent}: its processes keep it from handing the controllers {', '.join(missing)} to the lab's nodes",
            remedy="run the lab where systemd is process 1, or move them to a group of their own",
        ) from None


def remove_groups(groups: Iterable[Path]) -> None:
    """Kill what is left in the lab's groups and remove them, innermost first.

    Raises:
        KhardenError: a group is still busy after ten seconds.
    """
    deadline = time.monotonic() + _REMOVAL_SECONDS
    for group in groups:
        # Processes that have just been killed keep their group busy until the kernel has let go of them.
        while group.is_dir() and not _remove_once(group):
            if time.monotonic() > deadline:
                raise KhardenError(f"{group}: this control group can't be removed", remedy="look at its cgroup.procs")
            time.sleep(0.02)


def _remove_once(group: Path) -> bool:
    whole = True
    for folder, _, _ in os.walk(group, topdown=False):
        path = Path(folder)
        with suppress(OSError):
            for pid in map(int, (path / "cgroup.procs").read_text(encoding="ascii").split()):
                # 0 stands for a process of another PID namespace; kill(2) would take it for our own process group.
                if pid not in {0, 1, os.getpid()}:
                    os.kill(pid, signal.SIGKILL)
        try:
            path.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            whole = False
    return whole
