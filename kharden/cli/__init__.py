"""The tasks: thin. `invoke X` in a checkout and `kharden X` when installed are the same ones.

A task imports what it needs when it runs, so that help and `validate` don't wait for what they never use.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.program import Program

from kharden.cli import artifacts, cluster, hosts, lab
from kharden.cli.site import Site

if TYPE_CHECKING:
    from invoke.collection import Collection


def collection(root: Path, *, default_cluster: str | None) -> Collection:
    """All tasks, for the folder `root`."""
    site = Site(root, default_cluster)
    namespace = cluster.tasks(site)
    for name, group in (("lab", lab), ("artifacts", artifacts), ("hosts", hosts)):
        namespace.add_collection(group.tasks(site), name=name)
    return namespace


def main() -> None:
    """The installed program: clusters lie below the folder in which it is started."""
    try:
        namespace = collection(Path.cwd(), default_cluster=None)
    except OSError as error:
        sys.exit(f"kharden: this folder can't be found any more ({error.strerror}): change to another one")
    Program(namespace=namespace, name="kharden", version=metadata.version("kharden")).run()
