"""Apply a build to its nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kharden import securefile
from kharden.apply.build import load
from kharden.apply.clusterlock import Way, locked, look
from kharden.apply.payload import payload
from kharden.apply.runner import ApplyResult, Progress, Run, run
from kharden.apply.workspace import workspace
from kharden.buildlock import held
from kharden.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.seal import Identities


def apply(  # noqa: PLR0913  # what it reads, what it may open, and how it shall go
    folder: Path,
    *,
    spec_digest: str,
    identities: Identities,
    cache: Path,
    progress: Progress,
    check: bool = False,
    break_lock: bool = False,
) -> ApplyResult:
    """Make the nodes what build/<cluster>/ in `folder` says; with `check` only look what would change.

    Raises:
        RefusedError: the build is not of this cluster.yaml, or somebody else works with it or on the cluster now.
        IntegrityError: a file of the build was changed after it was rendered.
        RemoteError: something failed on a node; the next run goes on from there.
    """
    for path in (folder, cache):
        if "{" in str(path):  # Ansible takes a path for a template where it looks like one
            raise RefusedError(f"{path}: has a brace in its name", remedy="use a folder without braces")
    build = load(folder, spec_digest)
    with held(folder), workspace() as private:
        for node in build.nodes:
            securefile.write(private / "payloads" / f"{node}.payload", payload(build, node, identities), mode=0o600)
        request = Run(folder, private, cache, check=check, diff=check)
        way = Way(build.control_planes, request.ssh_config, request.ssh_arguments, private)
        if check:
            notes = look(way)
            result = run(request, progress)
        else:
            with locked(way, break_lock=break_lock) as lock:
                notes = lock.notes
                result = run(replace(request, is_lost=lock.is_lost), progress)
        result.notes[:0] = notes
        return result
