"""A folder as a user has it, with one cluster in it, and this checkout's program started there."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[2]
_SECONDS = 3600


_SUBNETS = {"lab": "10.77.0", "lab-small": "10.76.0"}


def described(name: str, subnet: str, of: str = "lab-small") -> str:
    """A lab's cluster.yaml under another name; `subnet` has the first three numbers of its addresses."""
    text = (CHECKOUT / f"inventories/{of}/cluster.yaml").read_text(encoding="utf-8")
    return text.replace(f"name: {of}\n", f"name: {name}\n").replace(f"{_SUBNETS[of]}.", f"{subnet}.")


@dataclass(frozen=True)
class Program:
    """kharden for one cluster; called with its arguments it gives what was printed."""

    site: Path
    cluster: str

    def __call__(self, *arguments: str, status: int = 0, text: str = "") -> str:
        return self._ended(arguments, status, text)[0]

    def refused(self, *arguments: str, status: int = 1) -> str:
        """What is said where it can't be done."""
        return self._ended(arguments, status, "")[1]

    def _ended(self, arguments: tuple[str, ...], status: int, text: str) -> tuple[str, str]:
        process = self.started(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            said, errors = process.communicate(text, timeout=_SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise
        assert process.returncode == status, f"{arguments}: {process.returncode}\n{said}\n{errors}"
        assert "Traceback" not in errors, errors
        return said, errors

    def started(self, *arguments: str, **streams: Any) -> subprocess.Popen[str]:  # noqa: ANN401  # as Popen takes them
        """It runs, as the leader of a process group of its own."""
        return subprocess.Popen(
            [Path(sys.executable).with_name("kharden"), *arguments],
            cwd=self.site,
            env=os.environ | {"KHARDEN_CLUSTER": self.cluster, "KHARDEN_IDENTITY": f"{self.site}/identity/"},
            text=True,
            start_new_session=True,
            **streams,
        )

    def node(self, name: str, command: str, text: str = "") -> str:
        """What a command of root's prints on a node."""
        return self("lab.shell", name, "--command", command, text=text)


@contextmanager
def program(site: Path, name: str, /, **files: str) -> Iterator[Program]:
    """The program in `site`, with these files beside the cluster's; its nodes are gone before and afterwards."""
    folder = site / "inventories" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / f"{file}.yaml").write_text(content, encoding="utf-8")
    (site / "identity").mkdir(mode=0o700, exist_ok=True)
    made = Program(site, name)
    made("lab.down")  # a run that was killed leaves its nodes' disks behind
    try:
        yield made
    finally:
        made("lab.down")
