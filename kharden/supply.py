"""What a cluster is made of: the steps of `render` and of the tasks artifacts.* that get, bundle and check it."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING

from kharden.artifacts import bundle as bundles
from kharden.artifacts import rebuild as rebuilds
from kharden.artifacts.fetch import expected
from kharden.artifacts.fetch import fetch as get
from kharden.artifacts.fetch import verify as check
from kharden.artifacts.lock import load as load_lock
from kharden.artifacts.sealed import SHA256
from kharden.artifacts.store import Store, cache_root
from kharden.errors import RefusedError
from kharden.render.artefact import Image
from kharden.render.cluster import LockId, StoredProgram, Supply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kharden.artifacts.bundle import Bundle
    from kharden.artifacts.lock import Lock
    from kharden.artifacts.model import Artifacts
    from kharden.artifacts.rebuild import Rebuilt
    from kharden.plan.model import Architecture, ClusterPlan
    from kharden.progress import Reporter

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}  # uname's names


def fetch(plan: ClusterPlan, reporter: Reporter) -> dict[Architecture, Artifacts]:
    """Programs and images of the plan's version, from the cache, fetched or built into it, by architecture.

    Raises:
        RefusedError: the nodes are this machine's, and of another architecture.
    """
    machine = platform.machine()
    if plan.lab and _MACHINES.get(machine) not in architectures(plan):
        raise RefusedError(f"this machine is a {machine}", remedy="nodes of the lab have its architecture: write that")
    found = {}
    for architecture in architectures(plan):
        artifacts = get(plan.kubernetes, architecture, plan.artifacts, store=Store(cache_root()), progress=reporter)
        for line in artifacts.notes:
            reporter.note(line)
        found[architecture] = artifacts
    return found


def refuse_older_lock(build: Path) -> Lock:
    """The lock, if it isn't older than the one that build/<cluster>/ was rendered with.

    Raises:
        RefusedError: it is.
    """
    own = load_lock()
    try:
        rendered = json.loads((build / "manifest.json").read_bytes())["artifacts"]["lock"]["serial"]
    except (OSError, ValueError, KeyError, TypeError):
        return own  # none that was rendered with a lock; a damaged one is written anew
    if isinstance(rendered, int) and rendered > own.serial:
        raise RefusedError(
            f"{build}: was rendered with lock {rendered}, and this kharden has the older {own.serial}",
            remedy="install the newer kharden, or remove that folder if you mean to go back",
        )
    return own


def for_rendering(artifacts: Mapping[Architecture, Artifacts], lock: Lock) -> dict[Architecture, Supply]:
    """What rendering is told of them."""
    return {
        architecture: Supply(
            programs={name: StoredProgram(file.sha256, file.size) for name, file in each.programs.items()},
            images=tuple(Image(image.reference, image.digest, image.archive, image.size) for image in each.images),
            lock=LockId(lock.serial, SHA256),
        )
        for architecture, each in artifacts.items()
    }


def locked_digests(plan: ClusterPlan) -> dict[str, dict[str, str]]:
    """The SHA-256 that the lock gives each program of the plan's version: architecture → name → digest."""
    store = Store(cache_root())
    return {each: expected(plan.kubernetes, each, plan.artifacts, store=store) for each in architectures(plan)}


def pause_image(plan: ClusterPlan) -> str:
    """The image that every node has, since the network of each of its pods lives in it."""
    images = load_lock().kubernetes(plan.kubernetes).images
    return next(str(image.reference) for image in images if "pause" in image.programs.values())


def architectures(plan: ClusterPlan) -> tuple[Architecture, ...]:
    """Those of the nodes, each once."""
    return tuple(sorted({node.architecture for node in plan.nodes}))


def verify(plan: ClusterPlan) -> dict[Architecture, Artifacts]:
    """Every byte in the cache that belongs to this cluster, compared with its digest.

    Raises:
        IntegrityError: something is damaged or missing; each is a line of the details, and was removed.
    """
    store = Store(cache_root())
    return {each: check(plan.kubernetes, each, plan.artifacts, store=store) for each in architectures(plan)}


def rebuild(plan: ClusterPlan, names: Sequence[str], reporter: Reporter) -> tuple[Rebuilt, ...]:
    """Programs by name, compiled once more in a clean folder and compared with the lock, for each architecture.

    Raises:
        IntegrityError: other bytes came out.
    """
    store = Store(cache_root())
    release = load_lock().kubernetes(plan.kubernetes)
    return tuple(
        each
        for architecture in architectures(plan)
        for each in rebuilds.rebuild(release, names, architecture, store=store, progress=reporter)
    )


def bundle(plan: ClusterPlan, target: Path) -> Bundle:
    """A mirror for machines without a network, from what the cache has of this cluster.

    Raises:
        MissingError: the cache doesn't have all of it.
    """
    return bundles.write(plan.kubernetes, architectures(plan), plan.artifacts, store=Store(cache_root()), target=target)
