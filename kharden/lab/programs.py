"""Running the host's programs: lists only, a small environment, and errors of one line."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from kharden.errors import KhardenError, MissingError
from kharden.securefile import make_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Debian's administrators' programs lie in sbin, which a user's PATH may lack.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "TERM")


class ProgramError(KhardenError):
    """A program of the host failed; the message has the last line it said."""


def environment() -> dict[str, str]:
    """What the host's programs get: nothing of the caller's but the way to the network and the terminal."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": "/root", **kept}


def find(program: str) -> str | None:
    """The path of `program`, or None."""
    return shutil.which(program, path=_PATH)


def path_of(program: str, package: str) -> str:
    """The path of `program`.

    Raises:
        MissingError: it isn't installed; names Debian's package.
    """
    found = find(program)
    if found is None:
        raise MissingError(f"this machine has no {program}", remedy=f"install Debian's package {package}")
    return found


def run(arguments: Sequence[str], *, what: str, given: str | None = None, timeout: float | None = None) -> str:
    """Run a program to its end and return what it wrote to standard output.

    Raises:
        ProgramError: it failed; `what` says what was being done.
    """
    try:
        done = subprocess.run(
            arguments,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment(),
            check=False,
            timeout=timeout,
        )
    except FileNotFoundError:
        raise MissingError(f"{what}: this machine has no {arguments[0]}", remedy="install it") from None
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{what}: {arguments[0]} did not end within {timeout:.0f} s") from None
    if done.returncode != 0:
        raise ProgramError(f"{what}: {last_line(done.stderr or done.stdout) or f'exit status {done.returncode}'}")
    return done.stdout


def run_logged(
    arguments: Sequence[str], *, what: str, log: Path, extra_environment: Mapping[str, str] | None = None
) -> None:
    """Run a long program with its output going to the file `log`.

    Raises:
        ProgramError: it failed; the message has the log's last line, the remedy its path.
    """
    make_folder(log.parent)
    with log.open("ab") as stream:
        start = stream.tell()
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**environment(), **(extra_environment or {})},
            check=False,
        )
    if done.returncode != 0:
        with log.open("rb") as stream:
            stream.seek(start)
            said = stream.read().decode(errors="replace")
        raise ProgramError(
            f"{what}: {last_line(said) or f'exit status {done.returncode}'}", remedy=f"the whole log is {log}"
        )


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
