"""The task that looks at machines before they are anyone's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from kharden.cli.output import console, print_json
from kharden.cli.task import CLUSTER, JSON, task

if TYPE_CHECKING:
    from invoke.context import Context
    from invoke.tasks import Task

    from kharden.cli.site import Site


def tasks(site: Site) -> Collection:
    """Those of hosts.*."""
    return Collection(_scan(site))


def _scan(site: Site) -> Task[Any]:
    def scan(context: Context, machine: str, port: int = 22, cluster: str | None = None, json: bool = False) -> None:
        """Print the ssh host keys that a machine shows, for you to confirm and to pin in cluster.yaml."""
        from kharden import commands

        keys = commands.scan_host_keys(lambda: site.place(cluster), machine, port)
        if json:
            print_json({"machine": machine, "hostKeys": [key.key for key in keys]})
            return
        screen = console()
        screen.print(f"{machine} shows these keys. Compare them with `ssh-keygen -l -f` on its own console.")
        for key in keys:
            screen.print(f"  {key.fingerprint}  {key.key.split()[0]}", highlight=False)
        screen.print("    hostKeys:", highlight=False)
        for key in keys:
            screen.print(f"      - {key.key}", highlight=False)

    return task(
        scan,
        machine="an IP address, or the name of a node or jump host in cluster.yaml",
        port="the ssh port of an address",
        cluster=CLUSTER,
        json=JSON,
    )
