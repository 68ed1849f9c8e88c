# SPDX-License-Identifier: Apache-2.0
"""Kernel parameters and modules, from kharden's own files only.

They are compared on every run, not just after a change of the file: a value set by hand is put right.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import NodeError
from .units import run

SYSCTL_FILES = "/etc/sysctl.d/*-kharden.conf"
MODULES_FILE = "/etc/modules-load.d/kharden.conf"
PROC_SYS = Path("/proc/sys")
SYS_MODULE = Path("/sys/module")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of a sysctl.d(5) file: `path` lies below /proc/sys; `optional` ones may be missing or refused."""

    path: str
    value: str
    optional: bool


def parameters(texts: list[str]) -> dict[str, Parameter]:
    """What the texts of sysctl.d(5) files set, by path; the last one wins. Globs are not ours and are refused."""
    result: dict[str, Parameter] = {}
    for line in "\n".join(texts).splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        key, separator, value = stripped.partition("=")
        optional, key = key.startswith("-"), key.removeprefix("-").strip()
        path = _path(key)
        if not separator or not key or "*" in key or ".." in path.split("/"):
            raise NodeError(f"{SYSCTL_FILES}: kharden doesn't write lines like {stripped!r}: apply the files again")
        result[path] = Parameter(path, " ".join(value.split()), optional)
    return result


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
        NodeError: it didn't, and the parameter isn't optional.
    """
    try:
        (root / parameter.path).write_text(parameter.value)
        kept = read(parameter, root)
    except OSError:
        kept = None
    if kept != parameter.value and not parameter.optional:
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
