"""In which runs of Ansible a choice is carried out, and for which nodes each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kharden.apply.choice import phases

if TYPE_CHECKING:
    from collections.abc import Collection

    from kharden.apply.build import BuildFolder
    from kharden.apply.choice import Choice

# What is the cluster's and no node's. It waits for everybody: DNS keeps its pods apart where it has a choice.
_CLUSTER = ("dns", "manifests", "health")
_READY = "health"
# What makes a machine a node; it needs what the phase `host` has prepared.
_JOINS = frozenset({"etcd", "first-control-plane", "control-planes", "workers"})
_HOST = "host"


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of Ansible.

    Attributes:
        nodes: those that it may change.
        others: those that are looked at, as far as they are reached, since they are asked for something.
        waits: those that it doesn't change and that must be reached and well before any node is touched.
        phases: those that run besides preflight; empty: all.
        allowed: how many of its nodes may fail until it stops.
        one_first: whether one worker goes before the others.
        title: what to call it, where there are several.
    """

    nodes: tuple[str, ...]
    others: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()
    allowed: int = 0
    one_first: bool = True
    title: str = ""

    @property
    def joins(self) -> bool:
        """Whether a machine that isn't in the cluster yet becomes a node."""
        return not self.phases or bool(_JOINS.intersection(self.phases))

    @property
    def prepared(self) -> bool:
        """Whether such a machine is made ready for that before."""
        return not self.joins or not self.phases or _HOST in self.phases

    @property
    def failing_percentage(self) -> float:
        """More than this part of its nodes may not fail, as Ansible wants to be told it."""
        return 100 * (self.allowed + 0.5) / max(1, len(self.nodes)) if self.allowed else 0.0


def whole(build: BuildFolder, choice: Choice) -> Stage:
    """Everything in one run."""
    nodes = limited(build, choice)
    return Stage(nodes, _asked(build, nodes), phases=choice.phases)


def waves(build: BuildFolder, choice: Choice) -> tuple[tuple[str, ...], ...]:
    """The chosen workers, in the plan's order: without a number one, then all others."""
    workers = tuple(filter(build.is_worker, limited(build, choice)))
    if choice.wave is None:
        return tuple(filter(None, (workers[:1], workers[1:])))
    size = choice.wave.size(len(workers))
    return tuple(workers[start : start + size] for start in range(0, len(workers), size))


def control_planes(build: BuildFolder, choice: Choice) -> Stage | None:
    """The run for the chosen control planes, which is the first; None where nothing of it was chosen.

    Where no worker may fail, all that are to come have to be there and well before it.
    """
    nodes = tuple(name for name in limited(build, choice) if not build.is_worker(name))
    run = tuple(name for name in _chosen_phases(choice) if name not in _CLUSTER)
    if not nodes or not run:
        return None
    waits = () if choice.max_fail else tuple(name for name in limited(build, choice) if name not in nodes)
    return Stage(nodes, _asked(build, nodes), waits, run, title=f"Control planes: {', '.join(nodes)}")


def wave(build: BuildFolder, choice: Choice, number: int, failed: Collection[str], *, first: bool) -> Stage | None:
    """The run for one wave of workers, from preflight until they are ready; `first`: nothing ran before it.

    None where only phases of the cluster were chosen.
    """
    parts = waves(build, choice)
    nodes = parts[number]
    rest = tuple(name for part in parts[number + 1 :] for name in part)
    run = tuple(name for name in _chosen_phases(choice) if name == _READY or name not in _CLUSTER)
    if not run:
        return None
    return Stage(
        nodes,
        tuple(filter(build.is_control_plane, build.nodes)),
        rest if first and not choice.max_fail else (),
        run,
        allowed=max(0, choice.max_fail - len(failed)),
        one_first=False,
        title=f"Wave {number + 1} of {len(parts)}: {', '.join(nodes)}",
    )


def cluster(build: BuildFolder, choice: Choice, failed: Collection[str]) -> Stage | None:
    """The run for what is the cluster's; None where that wasn't chosen, or no control plane was."""
    nodes = tuple(name for name in limited(build, choice) if name not in failed)
    run = tuple(name for name in _chosen_phases(choice) if name in _CLUSTER)
    if not run or not any(map(build.is_control_plane, nodes)):
        return None
    return Stage(nodes, _asked(build, nodes), phases=run, title="The cluster")


def limited(build: BuildFolder, choice: Choice) -> tuple[str, ...]:
    """The nodes that may be changed."""
    return choice.limit or build.nodes


def _chosen_phases(choice: Choice) -> tuple[str, ...]:
    return choice.phases or phases()


def _asked(build: BuildFolder, names: Collection[str]) -> tuple[str, ...]:
    """Who is there besides `names` to be asked for something: no worker is."""
    return tuple(name for name in build.nodes if name not in names and not build.is_worker(name))
