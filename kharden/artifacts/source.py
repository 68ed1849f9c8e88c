"""Programs from source: one `go build` whose result depends on nothing but what the lock and go.sum pin.

No C compiler, no paths, no clock and no version control get in, so two machines make the same bytes (docs/adr/0002).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kharden.artifacts import elf
from kharden.errors import IntegrityError, KhardenError, MissingError

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.artifacts.forms import Architecture
    from kharden.artifacts.lock import Module, Program
    from kharden.artifacts.toolchain import Go

BUILD = ("build", "-trimpath", "-buildvcs=false", "-mod=readonly")
CHATTER = ("go: downloading ", "go: finding ", "#", "too many errors", "note: ")  # of `go`: never the reason


class BuildError(KhardenError):
    """A compile failed; nothing of it is kept but its log."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the bytes of a program.

    Attributes:
        toolchain: The Go that compiles, "go1.26.8" for example.
    """

    program: Program
    module: Module
    architecture: Architecture
    toolchain: str

    @property
    def linker_flags(self) -> str:
        """The value of `-ldflags`: no symbol table, and what the program says of its version."""
        variables = sorted(self.module.variables.items())
        return " ".join(("-s", "-w", *(f"-X={symbol}={text}" for symbol, text in variables)))

    @property
    def key(self) -> str:
        """A digest of it all: the same key, the same program.

        Raises:
            MissingError: the module is not part of this installation.
        """
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources(self.module)}
        inputs = [files, self.program.package, BUILD, self.linker_flags, self.toolchain, self.architecture]
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def sources(module: Module) -> tuple[Path, ...]:
    """The files of a module of ours: go.mod, go.sum and the programs that we wrote."""
    found = sorted(path for path in module.folder.glob("*") if path.suffix in {".mod", ".sum", ".go"})
    if not found:
        raise MissingError(f"{module.folder}: no Go module", remedy="install kharden again")
    return tuple(found)


def build(recipe: Recipe, *, go: Go, work: Path, log: Path) -> Path:
    """Compile the program of `recipe` in the empty folder `work`; what `go` says goes to `log`.

    Returns:
        The program, a static ELF file for that architecture, not yet compared with the lock.

    Raises:
        BuildError: `go` failed; the message ends with its own reason.
        IntegrityError: what came out is no program for that architecture.
    """
    program, architecture = recipe.program, recipe.architecture
    copy = work / "module"
    copy.mkdir()
    for path in sources(recipe.module):
        shutil.copyfile(path, copy / path.name)
    target = work / program.name
    command = [str(go.command), *BUILD, "-ldflags", recipe.linker_flags, "-o", str(target), program.package]
    with log.open("wb") as stream:
        ended = subprocess.run(
            command,
            cwd=copy,
            env={**go.environment, "GOARCH": architecture},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode != 0:
        raise BuildError(f"{program}: {reason(log)}", remedy=f"see {log}, mend the cause and run it again")
    check(target, str(program), architecture)
    return target


def reason(log: Path) -> str:
    """The last line of `go`'s output that says why."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    said = [line for line in lines if line and not line.startswith(CHATTER)]
    return said[-1][:300] if said else "go build failed and said nothing"


def check(path: Path, name: str, architecture: Architecture) -> None:
    """See that `path` is a static program for `architecture`: an image of ours has no loader.

    Raises:
        IntegrityError: it is not.
    """
    with path.open("rb") as stream:
        found = elf.describe(stream, name)
    if found.architecture != architecture:
        raise IntegrityError(f"{name}: built for {found.architecture}, not {architecture}", remedy="report this")
    if found.interpreter or found.needed:
        raise IntegrityError(f"{name}: not static, wants {found.interpreter or found.needed[0]}", remedy="report this")
