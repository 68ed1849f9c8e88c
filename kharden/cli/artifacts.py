"""Tasks of programs and images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection

from kharden.cli.output import console, print_json, reporting
from kharden.cli.task import CLUSTER, JSON, task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from invoke.context import Context

    from kharden.artifacts.model import Artifacts
    from kharden.artifacts.rebuild import Rebuilt
    from kharden.cli.site import Site
    from kharden.plan.model import Architecture


def tasks(site: Site) -> Collection:
    """Those of artifacts.*."""

    def fetch(context: Context, cluster: str | None = None, json: bool = False) -> None:
        """Get a cluster's programs and images into the cache: fetched or built, and verified."""
        from kharden import commands, supply

        plan = commands.make_plan(site.place(cluster))
        with reporting(as_json=json) as reporter:
            reporter.phase("Fetch programs and images")
            found = supply.fetch(plan, reporter)
        _show_artifacts(found, as_json=json)

    def bundle(context: Context, to: str, cluster: str | None = None, json: bool = False) -> None:
        """Make a mirror of what artifacts.fetch got, for machines without a network."""
        from kharden import commands, supply

        made = supply.bundle(commands.make_plan(site.place(cluster)), Path(to).absolute())
        size = sum(file.size for file in made.files)
        if json:
            files = [asdict(file) for file in made.files]
            print_json({"path": str(made.target), "bytes": size, "lists": made.lists, "files": files})
        else:
            console().print(f"{made.target}: {len(made.files)} files, {size / 1e6:.0f} MB", highlight=False)

    def verify(
        context: Context, cluster: str | None = None, rebuild: Sequence[str] | None = None, json: bool = False
    ) -> None:
        """Read every byte in the cache that belongs to a cluster and compare it with its digest."""
        from kharden import commands, supply

        plan = commands.make_plan(site.place(cluster))
        with reporting(as_json=json) as reporter:
            reporter.phase("Compare digests")
            found = supply.verify(plan)
            rebuilt = supply.rebuild(plan, rebuild, reporter) if rebuild else ()
        _show_artifacts(found, as_json=json, rebuilt=rebuilt)

    return Collection(
        task(fetch, cluster=CLUSTER, json=JSON),
        task(bundle, to="a folder, or a new file that ends in .tar", cluster=CLUSTER, json=JSON),
        task(
            verify,
            iterable=["rebuild"],
            cluster=CLUSTER,
            rebuild="a program to compile once more in a clean folder and compare; may be said several times",
            json=JSON,
        ),
    )


def _show_artifacts(found: Mapping[Architecture, Artifacts], *, as_json: bool, rebuilt: Sequence[Rebuilt] = ()) -> None:
    if as_json:
        print_json(
            {
                "artifacts": {architecture: asdict(each) for architecture, each in found.items()},
                "rebuilt": [asdict(each) for each in rebuilt],
            }
        )
        return
    for architecture, each in found.items():
        size = sum(file.size for file in each.programs.values()) + sum(image.size for image in each.images)
        what = f"{len(each.programs)} programs and {len(each.images)} images, {size / 1e6:.0f} MB"
        as_pinned = "all as pinned" if each.pinned else "not all as pinned"
        console().print(f"Kubernetes {each.kubernetes} on {architecture}: {what}, {as_pinned}", highlight=False)
        for note in each.notes:
            console().print(f"  {note}", highlight=False)
    for program in rebuilt:
        console().print(f"  {program.name} {program.version}: built again, the same bytes", highlight=False)
