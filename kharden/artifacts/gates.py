"""For maintainers: write kharden/versions/gates.json, the feature gates of each Kubernetes version of the lock.

    python -m kharden.artifacts.gates

A program of ours (tools/feature-gates) is compiled with the same modules as each version's programs and says what they
register. Nothing is parsed, and nothing is fetched that those modules' go.sum doesn't pin.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kharden import resources, securefile
from kharden.artifacts import lock, toolchain
from kharden.artifacts.source import BUILD, BuildError, sources
from kharden.artifacts.store import Store, cache_root
from kharden.errors import KhardenError
from kharden.versions import gates
from kharden.versions.contract import Contract

if TYPE_CHECKING:
    from kharden.artifacts.toolchain import Go

PATH = Path(gates.__file__).with_name(gates.FILE)
_SECONDS = 3600


def tell(version: str, go: Go, work: Path) -> dict[str, dict[str, Any]]:
    """What the programs of a Kubernetes version register: name → its gate, without what has its usual value.

    Raises:
        BuildError: it didn't compile, or didn't run.
    """
    module = lock.load().module(lock.load().kubernetes(version).program("kube-apiserver"))
    for path in (*sources(module), resources.folder("tools") / "feature-gates" / "main.go"):
        shutil.copyfile(path, work / path.name)
    program = work / "feature-gates"
    _run([str(go.command), *BUILD, "-o", str(program), "."], work, go)
    told: dict[str, dict[str, Any]] = json.loads(_run([str(program)], work, go))
    usual = {"locked": False, "needs": [], "unknown": []}
    return {
        name: {key: value for key, value in one.items() if usual.get(key) != value}
        for name, one in sorted(told.items())
    }


def _run(command: list[str], work: Path, go: Go) -> bytes:
    done = subprocess.run(command, cwd=work, env=go.environment, capture_output=True, check=False, timeout=_SECONDS)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise BuildError(f"feature-gates: {said[-1] if said else 'no reason given'}", remedy="mend tools/feature-gates")
    return done.stdout


def written(found: dict[str, dict[str, dict[str, Any]]]) -> bytes:
    """The file: a line for each gate, so that a review shows what a version changes."""
    minors = []
    for minor, table in found.items():
        lines = [f"    {json.dumps(name)}: {json.dumps(one)}" for name, one in table.items()]
        minors.append(f"  {json.dumps(minor)}: {{\n" + ",\n".join(lines) + "\n  }")
    return ("{\n" + ",\n".join(minors) + "\n}\n").encode()


def make() -> bytes:
    """The file for all versions of the lock, the newest of each minor.

    Raises:
        BuildError, DownloadError, IntegrityError, MissingError: a version's program couldn't be made.
    """
    own, store = lock.load(), Store(cache_root())
    in_order = sorted(own.versions, key=lambda version: [int(number) for number in version.split(".")])
    newest = {Contract.of(version).minor: version for version in in_order}
    found = {}
    for minor, version in newest.items():
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            go = toolchain.find(own.toolchain, store, work)
            (work / "module").mkdir()
            found[minor] = tell(version, go, work / "module")
    return written(found)


def main() -> int:
    """Write the file; an exit status."""
    try:
        securefile.write_if_changed(PATH, make())
    except KhardenError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
