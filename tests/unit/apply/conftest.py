"""A build as render writes it, for a test to read, tamper with and apply."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kharden.render.output import write
from kharden.seal import STORES, Identities, load_or_create_identity
from tests.unit.render.stand_ins import GOLDEN, planned, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.render.cluster import Build


@dataclass(frozen=True)
class Written:
    """A build on the disk, what it was written from, and who can open it."""

    folder: Path
    build: Build
    identities: Identities

    @property
    def digest(self) -> str:
        """Of the cluster.yaml that it was rendered from."""
        return self.build.plan.spec_digest


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tmpfs of the test's own: each run clears there what killed ones left, and others run at the same time."""
    with tempfile.TemporaryDirectory(prefix="kharden-test-", dir="/dev/shm") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


# In the place of ssh: the last argument is run in a folder of the node's, which may be away.
SSH = """#!/bin/sh
for word; do [ "$word" = -- ] || {{ node=$command; command=$word; }}; done
cd "{nodes}/$node" 2> /dev/null || {{ echo "ssh: connect to host $node port 22: No route to host" >&2; exit 255; }}
[ ! -e greeting ] || cat greeting
exec sh -c "$command"
"""


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders that are reached by a stand-in of ssh as if they were nodes."""
    folder, programs = tmp_path / "machines", tmp_path / "programs"
    programs.mkdir()
    for name in ("cp1", "cp2", "cp3"):
        (folder / name).mkdir(parents=True)
    for name, text in (("ssh", SSH.format(nodes=folder)), ("sudo", '#!/bin/sh\nshift\nexec "$@"\n')):
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Written:
    home = tmp_path_factory.mktemp("pristine")
    identities, _ = load_or_create_identity({"HOME": str(home)}, create=STORES)
    build = rendered(planned(GOLDEN / "lab" / "cluster.yaml"))
    write(build, home / "build" / "lab", identities.recipients)
    return Written(home / "build" / "lab", build, identities)


@pytest.fixture
def written(pristine: Written, tmp_path: Path) -> Written:
    folder = tmp_path / "build" / "lab"
    shutil.copytree(pristine.folder, folder)
    return Written(folder, pristine.build, pristine.identities)
