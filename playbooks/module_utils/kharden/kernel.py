# SPDX-License-Identifier: Apache-2.0
"""Kernel parameters and modules, from kharden's own files only.

They are compared on every run, not just after a change of the file: a value set by hand is put right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import NodeError
from .units import run

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSCTL_FILES = "/etc/sysctl.d/*-kharden.conf"
MODULES_FILE = "/etc/modules-load.d/kharden.conf"
PROC_SYS = Path("/proc/sys")
SYS_MODULE = Path("/sys/module")
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of a sysctl.d(5) file, or one of those that a line with `*` stands for.

    Attributes:
        path: where it lies below /proc/sys.
        optional: it may be missing or refused.
        passing: a `*` found it, on an interface for one, and it may be gone by now.
    """

    path: str
    value: str
    optional: bool
    passing: bool = False

    @property
    def may_miss(self) -> bool:
        """Whether it is no fault that there is none of it."""
        return self.optional or self.passing


def parameters(texts: list[str], root: Path = PROC_SYS) -> dict[str, Parameter]:
    """What the texts of sysctl.d(5) files set, by path: the last one wins, and a named one over those of a `*`.

    A `*` is one whole part of a path, and stands for whatever is there now.
    """
    result: dict[str, Parameter] = {}
    patterns: dict[str, Parameter] = {}
    for line in "\n".join(texts).splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        key, separator, value = stripped.partition("=")
        optional, key = key.startswith("-"), key.removeprefix("-").strip()
        path = _path(key)
        parts = path.split("/")
        if not separator or not key or ".." in parts or any(_GLOB & set(part) and part != "*" for part in parts):
            raise NodeError(f"{SYSCTL_FILES}: kharden doesn't write lines like {stripped!r}: apply the files again")
        into = patterns if "*" in parts else result
        into[path] = Parameter(path, " ".join(value.split()), optional)
    found = {path: one for pattern in patterns.values() for path, one in _matching(pattern, root)}
    # First what there is: an interface that was never set follows "default", and a plan would tell more than is done.
    return {path: one for path, one in found.items() if path not in result} | result


def _matching(pattern: Parameter, root: Path) -> Iterator[tuple[str, Parameter]]:
    for each in sorted(root.glob(pattern.path)):
        path = str(each.relative_to(root))
        yield path, replace(pattern, path=path, passing=True)


def _path(key: str) -> str:
    """The path of a key: where its first separator is a dot, dots and slashes change places (sysctl.d(5))."""
    if "/" in key and ("." not in key or key.index("/") < key.index(".")):
        return key
    return key.translate(str.maketrans("./", "/."))


def read(parameter: Parameter, root: Path = PROC_SYS) -> str | None:
    """The value now, blanks made single; None if there is no such parameter or it can't be read."""
    try:
        return " ".join((root / parameter.path).read_text().split())
    except OSError:
        return None


def write(parameter: Parameter, root: Path = PROC_SYS) -> None:
    """Set a parameter and see that the kernel kept it.

    Raises:
        NodeError: it didn't, and the parameter isn't optional and hasn't gone meanwhile.
    """
    try:
        (root / parameter.path).write_text(parameter.value)
        kept = read(parameter, root)
    except OSError:
        kept = None
    gone = parameter.passing and not (root / parameter.path).exists()
    if kept != parameter.value and not parameter.optional and not gone:
        raise NodeError(
            f"{root / parameter.path}: should be {parameter.value!r} but is {kept!r}: the module that has it isn't "
            f"loaded, or this node may not set it"
        )


def modules(text: str) -> list[str]:
    """The names in a modules-load.d(5) file."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and line[0] not in "#;"]


def is_loaded(name: str, root: Path = SYS_MODULE) -> bool:
    """True if the module is loaded, or built in with parameters; `load` does no harm to other built-in ones."""
    return (root / name.replace("-", "_")).is_dir()


def load(name: str) -> None:
    """Load the module `name`.

    Raises:
        NodeError: this kernel doesn't have it.
    """
    status, said = run(["modprobe", "--", name], 30)
    if status:
        raise NodeError(f"kernel module {name}: {' '.join(said.split())[:200]}: use a kernel that has it")
