"""The installed program and `invoke`, run as programs in folders of a test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHECKOUT = Path(__file__).parents[3]
FORKED = Path(__file__).with_name("forked.py")
SPEC = """\
apiVersion: kharden.dev/v1
kind: Cluster
metadata: {name: NAME}
spec:
  kubernetes: {version: 1.36.3}
  nodes:
    - name: cp1
      address: 192.0.2.11
      role: control-plane
      ssh: {hostKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB]}
  network:
    nodeCIDRs: [192.0.2.0/24]
    podCIDRs: [10.200.0.0/16]
    serviceCIDRs: [10.201.0.0/16]
"""


@dataclass(frozen=True)
class Invocation:
    """What is typed, and where."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = (sys.executable, "-c", "from kharden.cli import main; main()")
    folder: Path | None = None


@dataclass(frozen=True)
class Site:
    """A folder with clusters, as a user of the installed program has it."""

    root: Path

    def add(self, name: str, text: str = SPEC) -> Path:
        path = self.root / "inventories" / name / "cluster.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text.replace("NAME", name), encoding="utf-8")
        return path

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.typed(Invocation(arguments, environment))

    def typed(self, invocation: Invocation) -> subprocess.CompletedProcess[str]:
        # What a user has set for kharden is not the test's.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KHARDEN_C")}
        own = {"KHARDEN_IDENTITY": f"{self.root}/identity/", "XDG_STATE_HOME": f"{self.root}/state", "COLUMNS": "40"}
        return subprocess.run(
            [*invocation.program, *invocation.arguments],
            cwd=invocation.folder or self.root,
            env=inherited | own | dict(invocation.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
            timeout=120,
        )

    def all(self, invocations: Sequence[Invocation]) -> list[subprocess.CompletedProcess[str]]:
        """Many, one after the other, without the time that Python takes to import it all."""
        given = [[each.arguments, dict(each.environment), str(each.folder or self.root)] for each in invocations]
        done = self.typed(Invocation((str(FORKED), json.dumps(given)), program=(sys.executable,)))
        assert done.returncode == 0, done.stderr
        return [
            subprocess.CompletedProcess(each.arguments, *answer)
            for each, answer in zip(invocations, json.loads(done.stdout), strict=True)
        ]


def made(folder: Path) -> Site:
    (folder / "identity").mkdir(mode=0o700)
    return Site(folder)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return made(tmp_path)
