"""A folder as a user has it, with one cluster in it, and this checkout's program started there."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[2]
_SECONDS = 3600


def described(name: str, subnet: str) -> str:
    """lab-small's cluster.yaml under another name; `subnet` has the first three numbers of its addresses."""
    text = (CHECKOUT / "inventories/lab-small/cluster.yaml").read_text(encoding="utf-8")
    return text.replace("name: lab-small\n", f"name: {name}\n").replace("10.76.0.", f"{subnet}.")


@dataclass(frozen=True)
class Program:
    """kharden for one cluster; called with its arguments it gives what was printed."""

    site: Path
    cluster: str

    def __call__(self, *arguments: str, status: int = 0, text: str = "") -> str:
        done = subprocess.run(
            [Path(sys.executable).with_name("kharden"), *arguments],
            cwd=self.site,
            env=os.environ | {"KHARDEN_CLUSTER": self.cluster, "KHARDEN_IDENTITY": f"{self.site}/identity/"},
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def node(self, name: str, command: str, text: str = "") -> str:
        """What a command of root's prints on a node."""
        return self("lab.shell", name, "--command", command, text=text)


@contextmanager
def program(site: Path, name: str, /, **files: str) -> Iterator[Program]:
    """The program in `site`, with these files beside the cluster's; its nodes are gone before and afterwards."""
    folder = site / "inventories" / name
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / f"{file}.yaml").write_text(content, encoding="utf-8")
    (site / "identity").mkdir(mode=0o700)
    made = Program(site, name)
    made("lab.down")  # a run that was killed leaves its nodes' disks behind
    try:
        yield made
    finally:
        made("lab.down")
