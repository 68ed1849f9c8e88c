"""Tasks of the lab: nodes on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.collection import Collection
from invoke.exceptions import Exit

from kharden.cli.output import asking, console, print_json, reporting
from kharden.cli.task import CLUSTER, JSON, YES, task

if TYPE_CHECKING:
    from invoke.context import Context

    from kharden.cli.site import Site


def tasks(site: Site) -> Collection:
    """Those of lab.*."""

    def up(context: Context, cluster: str | None = None, yes: bool = False) -> None:
        """Start the lab's nodes on this machine."""
        from kharden import commands

        with reporting(as_json=False) as reporter:
            place = site.place(cluster)
            commands.agree_to_lab(place, asking(yes=yes, reporter=reporter))
            commands.bring_up_lab(place, reporter)

    def down(context: Context, cluster: str | None = None) -> None:
        """Stop and remove the lab's nodes; what was changed on this machine is put back."""
        from kharden import lab as nodes

        place = site.place(cluster)
        with reporting(as_json=False) as reporter:
            reporter.phase("Stop the lab's nodes")
            for line in nodes.down(place.cluster, reporter):
                reporter.note(line)

    def status(context: Context, cluster: str | None = None, json: bool = False) -> None:
        """Show the lab's nodes."""
        from kharden import lab as nodes

        found = nodes.status(site.place(cluster).cluster)
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
        if json:
            print_json({"lab": found.name, "nodes": rows})
            return
        screen = console()
        for row in rows:
            screen.print(f"{row['name']}  {row['address']}  {row['state']}  {row['since'] or ''}", highlight=False)
        if not rows:
            screen.print(f"lab {found.name}: no nodes", highlight=False)

    def shell(context: Context, node: str, cluster: str | None = None, command: str | None = None) -> None:
        """Run a root shell, or one command, in a node; its exit status is ours."""
        from kharden import lab as nodes

        status = nodes.shell(site.place(cluster).cluster, node, command)
        if status:
            raise Exit(code=status)

    return Collection(
        task(up, cluster=CLUSTER, yes=YES),
        task(down, cluster=CLUSTER),
        task(status, cluster=CLUSTER, json=JSON),
        task(shell, node="the node's name", cluster=CLUSTER, command="a command for its shell"),
    )
