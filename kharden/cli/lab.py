"""Tasks of the lab: nodes on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke.collection import Collection
from invoke.exceptions import Exit

from kharden.cli.output import asking, console, print_json, reporting
from kharden.cli.task import CLUSTER, JSON, YES, task

if TYPE_CHECKING:
    from invoke.context import Context
    from invoke.tasks import Task

    from kharden.cli.site import Site


def tasks(site: Site) -> Collection:
    """Those of lab.*."""

    def up(context: Context, cluster: str | None = None, yes: bool = False, json: bool = False) -> None:
        """Start the lab's nodes on this machine."""
        from kharden import commands

        with reporting(as_json=json) as reporter:
            place = site.place(cluster)
            commands.agree_to_lab(place, asking(yes=yes, reporter=reporter))
            commands.bring_up_lab(place, reporter)
        if json:
            print_json(_told(place.cluster))

    def down(context: Context, cluster: str | None = None, json: bool = False) -> None:
        """Stop and remove the lab's nodes; what was changed on this machine is put back."""
        from kharden import lab as nodes

        place = site.place(cluster)
        with reporting(as_json=json) as reporter:
            reporter.phase("Stop the lab's nodes")
            kept = nodes.down(place.cluster, reporter)
            for line in kept:
                reporter.note(line)
        if json:
            print_json(_told(place.cluster) | {"notes": kept})

    def shell(context: Context, node: str, cluster: str | None = None, command: str | None = None) -> None:
        """Run a root shell, or one command, in a node; its exit status is ours."""
        from kharden import lab as nodes

        status = nodes.shell(site.place(cluster).cluster, node, command)
        if status:
            raise Exit(code=status)

    return Collection(
        task(up, cluster=CLUSTER, yes=YES, json=JSON),
        task(down, cluster=CLUSTER, json=JSON),
        _status(site),
        task(shell, node="the node's name", cluster=CLUSTER, command="a command for its shell"),
    )


def _status(site: Site) -> Task[Any]:
    def status(context: Context, cluster: str | None = None, json: bool = False) -> None:
        """Show the lab's nodes."""
        told = _told(site.place(cluster).cluster)
        if json:
            print_json(told)
            return
        screen = console()
        for row in told["nodes"]:
            screen.print(f"{row['name']}  {row['address']}  {row['state']}  {row['since'] or ''}", highlight=False)
        if not told["nodes"]:
            screen.print(f"lab {told['lab']}: no nodes", highlight=False)

    return task(status, cluster=CLUSTER, json=JSON)


def _told(name: str) -> dict[str, Any]:
    """How the lab and its nodes stand, for a script."""
    from kharden import lab as nodes

    found = nodes.status(name)
    rows = [
        {
            "name": node.name,
            "address": str(node.address),
            "state": node.state,
            "pid": node.pid,
            "since": node.since.isoformat() if node.since else None,
        }
        for node in found.nodes
    ]
    return {"lab": found.name, "nodes": rows}
