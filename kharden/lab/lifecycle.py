"""The lab's commands, each an ordered list of steps."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.errors import InputError, RefusedError
from kharden.lab import cgroups, facts, leftovers, network, register, requirements, sysctls
from kharden.lab.boot import check_reach, start_machine, wait_ready
from kharden.lab.disk import has_disk, make_disk, update_hosts
from kharden.lab.keys import make_keys
from kharden.lab.machine import enter_arguments, find_machine, stop_machines
from kharden.lab.model import LabStatus, NodeStatus, check_name, machine_name
from kharden.lab.modules import load_modules, missing_modules
from kharden.lab.places import node_folder, state_folder
from kharden.lab.programs import environment, path_of, run_logged
from kharden.lab.record import read_record, recorded_names, write_record
from kharden.lab.tree import ensure_tree

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kharden.lab.model import Lab, LabNode, Progress, Suite
    from kharden.lab.tree import Tree
    from kharden.plan.facts import LabFacts


def prepare(lab: Lab) -> LabFacts:
    """Make the lab's keys where they are missing, and find out what its host is like; changes nothing else.

    Raises:
        MissingError: ssh-keygen is not installed.
    """
    make_keys(lab)
    return facts.collect(lab)


def up(lab: Lab, progress: Progress, *, only: Collection[str] = ()) -> LabFacts:
    """Bring the lab up, with the consent of whoever was shown `host_changes`; what is up already stays as it is.

    Args:
        lab: the lab.
        progress: who shows how it goes on.
        only: names of the nodes that are started; empty: all.

    Raises:
        MissingError: this machine can't have a lab.
        RefusedError: its name or subnet is taken, or it is up as something else.
        ProgramError: a program of the host failed.
        RemoteError: a node died while starting.
    """
    requirements.check(lab)
    with register.only_run(lab.name):
        _check_recorded(lab)
        network.check_subnet(lab, register.others(lab.name))
        register.enter(lab)
        make_keys(lab)
        write_record(lab)
        _install_packages(lab, progress)
        log = state_folder(lab.name) / "tree.log"
        trees = {suite: ensure_tree(suite, log, progress) for suite in sorted({node.suite for node in lab.nodes})}
        load_modules(missing_modules())
        sysctls.raise_limits()
        network.make_bridge(lab)
        _start_nodes(lab, [node for node in lab.nodes if not only or node.name in only], trees, progress)
        return facts.collect(lab)


def down(lab_name: str, progress: Progress) -> tuple[str, ...]:
    """Take the lab down and leave nothing of it but the cached base tree; does what is left to do after a crash.

    Returns:
        Names of sysctls that the kernel didn't take back: they keep a cluster's value until the host boots.

    Raises:
        InputError: this can't be a lab's name.
        RefusedError: another `up` or `down` of this lab runs.
    """
    check_name(lab_name)
    with register.only_run(lab_name):
        names = leftovers.node_names(lab_name)
        running = any(find_machine(lab_name, name) for name in names)
        with _step(progress, f"nodes of {lab_name}", cached=not running):
            stop_machines(lab_name, names)
        with _step(progress, f"host of {lab_name}", cached=not state_folder(lab_name).is_dir()):
            machines = [machine_name(lab_name, name) for name in names]
            cgroups.remove_groups(cgroups.find_groups(lab_name, machines))
            network.remove_bridge(lab_name)
            leftovers.remove_files(lab_name, names)
            stuck = register.leave(lab_name)
            register.tidy(lab_name)
    return stuck


def status(lab_name: str) -> LabStatus:
    """How the lab and its nodes stand.

    Raises:
        InputError: this can't be a lab's name.
        IntegrityError: its record is damaged.
    """
    check_name(lab_name)
    lab = read_record(lab_name)
    return LabStatus(lab_name, tuple(_node_status(lab, node) for node in lab.nodes) if lab else ())


def shell(lab_name: str, node_name: str, command: str | None) -> int:
    """Run `command` as root on a node, or a login shell of one's own without it; returns its exit status.

    Raises:
        InputError: there is no such node.
        RefusedError: it doesn't run.
    """
    names = [node.name for node in status(lab_name).nodes]
    if node_name not in names:
        raise InputError(
            f"lab {lab_name}: there is no node {node_name}", remedy=f"its nodes are {', '.join(names) or 'none'}"
        )
    machine = find_machine(lab_name, node_name)
    if machine is None or machine.leader is None:
        raise RefusedError(f"lab {lab_name}: {node_name} does not run", remedy="bring the lab up")
    # su(1): --pty gives a person a terminal of the node's own, so that job control works.
    login = ["su", *(["--pty"] if command is None and sys.stdin.isatty() else []), "--login", "root"]
    if command is not None:
        login += ["--command", command]
    sys.stdout.flush()
    return subprocess.run([*enter_arguments(machine.leader), *login], env=environment(), check=False).returncode


def labs() -> tuple[str, ...]:
    """The names of this user's labs."""
    return recorded_names()


def _check_recorded(lab: Lab) -> None:
    """A lab that is there may get further nodes; any other difference would leave nodes that believe the old one."""
    recorded = read_record(lab.name)
    if recorded is None:
        return
    there = [node for node in recorded.nodes if node_folder(lab.name, node.name).joinpath("upper").is_dir()]
    named = {node.name for node in lab.nodes}
    gone = [node.name for node in there if node.name not in named]
    changed = [node.name for node in there if node.name in named and node not in lab.nodes]
    differs = [f"{', '.join(gone)}, which nothing names any more"] if gone else []
    differs += [f"another address, user, port or Debian of {', '.join(changed)}"] if changed else []
    differs += [" and ".join(map(str, recorded.subnets))] if there and recorded.subnets != lab.subnets else []
    if differs:
        what = "; ".join(differs)
        raise RefusedError(f"lab {lab.name}: it is there with {what}", remedy="take it down, then bring it up again")


def _install_packages(lab: Lab, progress: Progress) -> None:
    packages = requirements.missing_packages()
    if not packages:
        return
    log = state_folder(lab.name) / "apt.log"
    with _step(progress, f"packages {', '.join(packages)}"):
        apt = path_of("apt-get", "apt")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run_logged([apt, "--quiet", "update"], what="updating apt's lists", log=log, extra_environment=quiet)
        run_logged(
            [apt, "--quiet", "--yes", "--no-install-recommends", "install", *packages],
            what=f"installing {', '.join(packages)}",
            log=log,
            extra_environment=quiet,
        )


def _start_nodes(lab: Lab, nodes: Sequence[LabNode], trees: Mapping[Suite, Tree], progress: Progress) -> None:
    begun = {}
    fresh = {node.name for node in nodes if not has_disk(lab, node)}
    groups = cgroups.lab_groups(lab.name)
    for node in nodes:
        progress.start(f"node {node.name}")
        machine = find_machine(lab.name, node.name)
        begun[node.name] = (time.monotonic(), machine is not None)
        if machine is not None and machine.leader is not None:
            update_hosts(lab, Path(f"/proc/{machine.leader}/root"))
        if machine is None:
            make_disk(lab, node, trees[node.suite])
            start_machine(lab, node, trees[node.suite], cgroups.make_node_groups(groups, node.name))
    # All boot by now; waiting for one after the other takes as long as the slowest.
    for node in nodes:
        wait_ready(lab, node)
        start, ran = begun[node.name]
        progress.done(f"node {node.name}", time.monotonic() - start, cached=ran)
    # Not what was hardened already: its own firewall may say who reaches its ssh server.
    for source, target in pairwise(nodes):
        if target.name in fresh:
            check_reach(lab, source, target)


def _node_status(lab: Lab, node: LabNode) -> NodeStatus:
    machine = find_machine(lab.name, node.name)
    # A process that ends between two looks has no start any more.
    with suppress(OSError):
        if machine is not None:
            return NodeStatus(node.name, node.address, "running", machine.pid, machine.since)
    there = (node_folder(lab.name, node.name) / "upper").is_dir()
    return NodeStatus(node.name, node.address, "stopped" if there else "absent")


@contextmanager
def _step(progress: Progress, item: str, *, cached: bool = False) -> Iterator[None]:
    progress.start(item)
    begun = time.monotonic()
    yield
    progress.done(item, time.monotonic() - begun, cached=cached)
