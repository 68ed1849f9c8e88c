"""Apply a build to its nodes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kharden import securefile
from kharden.apply import stages
from kharden.apply.build import load
from kharden.apply.choice import Choice
from kharden.apply.clusterlock import Way, locked, look
from kharden.apply.payload import payload
from kharden.apply.runner import ApplyResult, Progress, Run, RunError, attempt, run
from kharden.apply.waves import in_waves
from kharden.apply.workspace import workspace
from kharden.buildlock import held
from kharden.errors import KhardenError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from kharden.apply.build import BuildFolder
    from kharden.apply.saved import SavedPlan
    from kharden.apply.stages import Stage
    from kharden.errors import RemoteError
    from kharden.seal import Identities

_EVERYTHING = Choice()


def apply(  # noqa: PLR0913  # what it reads, what it may open, and how it shall go
    folder: Path,
    *,
    spec_digest: str,
    identities: Identities,
    cache: Path,
    progress: Progress,
    choice: Choice = _EVERYTHING,
    saved: SavedPlan | None = None,
    check: bool = False,
    break_lock: bool = False,
) -> ApplyResult:
    """Make the nodes what build/<cluster>/ in `folder` says; with `check` only look what would change.

    Args:
        folder: the build.
        spec_digest: of the cluster.yaml that it must be of.
        identities: who opens the stores.
        cache: the folder of artifacts' objects.
        progress: who shows how it goes on.
        choice: which nodes and phases, and how many workers at a time; a look needs no waves.
        saved: a plan that this must be, or nothing is changed.
        check: look only.
        break_lock: whether somebody else's lock may be broken.

    Raises:
        RefusedError: the build is not of this cluster.yaml, somebody else works with it or on the cluster now, or the
            saved plan is of another build or of nodes as they were.
        IntegrityError: a file of the build was changed after it was rendered.
        RunError: something failed on a node; the next run goes on from there.
    """
    for path in (folder, cache):
        if "{" in str(path):  # Ansible takes a path for a template where it looks like one
            raise RefusedError(f"{path}: has a brace in its name", remedy="use a folder without braces")
    build = load(folder, spec_digest)
    if saved:
        saved.refuse_other_build(build.digest)
    with held(folder), workspace() as private:
        for node in stages.limited(build, choice):
            securefile.write(private / "payloads" / f"{node}.payload", payload(build, node, identities), mode=0o600)
        request = Run(folder, private, cache, stages.whole(build, choice), check=check, diff=check)
        way = Way(build.control_planes, request.ssh_config, request.ssh_arguments, private)
        if check:
            from kharden.apply.leaves import due  # noqa: PLC0415  # an apply has no time for what parses certificates

            notes = (*look(way), *due(build, request.stage.nodes, datetime.now(UTC)))
            return _told(build, choice, notes, lambda: run(request, progress))
        with locked(way, break_lock=break_lock) as lock:
            ours = replace(request, is_lost=lock.is_lost)
            return _told(build, choice, lock.notes, lambda: _compared_and_done(build, choice, ours, progress, saved))


def _told(build: BuildFolder, choice: Choice, notes: Sequence[str], work: Callable[[], ApplyResult]) -> ApplyResult:
    """What the work did, with the notes on it; they are true where it fails too, and told there."""
    failed: RunError | None = None
    try:
        result = work()
    except RunError as error:
        result, failed = error.result, error
    except KhardenError as error:
        error.details = (*error.details, *notes)
        raise
    result.build = build.digest
    result.notes[:0] = [*notes, *_left_alone(build, choice)]
    if failed:
        raise failed
    return result


def _compared_and_done(
    build: BuildFolder, choice: Choice, request: Run, progress: Progress, saved: SavedPlan | None
) -> ApplyResult:
    """Where it is to be a saved plan, only if the nodes are as that found them."""
    if saved:
        progress.phase(f"Compare with {saved.path.name}")
        saved.refuse_other_nodes(_looked(replace(request, check=True, diff=True), progress))
    return _carried_out(build, choice, request, progress)


def _looked(request: Run, progress: Progress) -> ApplyResult:
    """What an apply finds before it changes anything: where that fails nothing was done that could be told."""
    try:
        return run(request, progress)
    except RunError as error:
        raise RunError(error, ApplyResult(error.result.status, error.result.failures)) from None


def _carried_out(build: BuildFolder, choice: Choice, request: Run, progress: Progress) -> ApplyResult:
    """In one run of Ansible, or in several."""

    def one(stage: Stage) -> tuple[ApplyResult, RemoteError | None]:
        progress.phase(stage.title)
        return attempt(replace(request, stage=stage), progress)

    return in_waves(build, choice, one) if choice.in_waves else run(request, progress)


def _left_alone(build: BuildFolder, choice: Choice) -> list[str]:
    if any(map(build.is_control_plane, stages.limited(build, choice))):
        return []
    return ["objects of the cluster were left as they are, since no control plane is in --limit"]
