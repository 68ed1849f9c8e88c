"""What a lab leaves in folders of the host, and its removal."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.errors import RefusedError
from kharden.lab.machine import is_program_running
from kharden.lab.model import machine_name
from kharden.lab.places import state_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

# systemd-nspawn's own folder. It forgets what is below it when it is killed.
NSPAWN_RUNTIME = Path("/run/systemd/nspawn")


def node_names(lab_name: str) -> tuple[str, ...]:
    """The nodes that have a folder: enough to take a lab down whose record is damaged or was never written."""
    nodes = state_folder(lab_name) / "nodes"
    return tuple(sorted(path.name for path in nodes.iterdir())) if nodes.is_dir() else ()


def remove_files(lab_name: str, node_names: Iterable[str]) -> None:
    """Remove the lab's state folder, and what systemd-nspawn left of its machines.

    Raises:
        RefusedError: something else is mounted in the folder; removing it would reach into that.
    """
    for name in node_names:
        for kind in ("propagate", "unix-export"):
            with suppress(OSError):
                (NSPAWN_RUNTIME / kind / machine_name(lab_name, name)).rmdir()
    folder = state_folder(lab_name)
    mounted = _mounts_below(folder)
    if mounted:
        raise RefusedError(f"{mounted[0]}: something is mounted in the lab's folder", remedy="unmount it, then again")
    if folder.is_dir():
        shutil.rmtree(folder)


def remove_nspawn_runtime() -> None:
    """Remove systemd-nspawn's own folder, which was not there before the first lab; not while anybody uses it."""
    if is_program_running("systemd-nspawn"):
        return
    for path in (*sorted(NSPAWN_RUNTIME.rglob("*"), reverse=True), NSPAWN_RUNTIME):
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()


def _mounts_below(folder: Path) -> tuple[str, ...]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    # proc_pid_mountinfo(5) writes a blank as \040.
    points = [line.split()[4].replace("\\040", " ") for line in lines]
    return tuple(point for point in points if Path(point).is_relative_to(folder))
