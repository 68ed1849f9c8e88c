"""Programs of Debian packages: what dpkg says of them."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from kharden.observe.collector.files import digest

_SECONDS = 60


def packaged(path: str) -> dict[str, str]:
    """The package that brought a program, its version, the MD5 that it should have by dpkg's list, and what it has.

    Without a package "package" is empty.
    """
    real = Path(path).resolve(strict=True)
    with real.open("rb") as stream:
        md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    seen = {"package": "", "version": "", "listed": "", "md5": md5, "sha256": digest(str(real))}
    # Debian 12's dpkg knows some files by their path before /usr was merged.
    for name in dict.fromkeys((str(real), str(real).removeprefix("/usr"))):
        found = _asked("--search", name)
        package = found.partition(":")[0] if found.rstrip().endswith(f": {name}") else ""
        if package:
            version = _asked("--show", "--showformat=${Version}", package)
            return {**seen, "package": package, "version": version, "listed": _listed(package, name.lstrip("/"))}
    return seen


def _listed(package: str, name: str) -> str:
    """The MD5 of a file by the package's own list: a line for each, digest and path."""
    rows = (line.split(maxsplit=1) for line in _asked("--control-show", package, "md5sums").splitlines())
    return next((row[0] for row in rows if row[1:] == [name]), "")


def _asked(*arguments: str) -> str:
    """What dpkg-query writes; nothing where it knows nothing."""
    return subprocess.run(
        ["dpkg-query", *arguments], capture_output=True, text=True, timeout=_SECONDS, check=False
    ).stdout
