"""What this machine needs for a lab, checked before anything is changed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.artifacts.debian_mirror import KEYRING
from kharden.errors import MissingError
from kharden.lab.places import state_root, trees_folder
from kharden.lab.programs import find

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.lab.model import Lab

_IPV6 = Path("/proc/sys/net/ipv6")
_FREE_BYTES = 4 * 1024**3
# Debian's package for each program that the lab calls.
_PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
}


def missing_packages() -> tuple[str, ...]:
    """The packages that `up` has to install on this host."""
    packages = [package for program, package in _PACKAGES.items() if find(program) is None]
    if not KEYRING.is_file():
        packages.append("debian-archive-keyring")
    return tuple(packages)


def check(lab: Lab) -> None:
    """Check this machine.

    Raises:
        MissingError: it can't have a lab; all reasons, one a line.
    """
    problems = tuple(_problems(lab))
    if problems:
        raise MissingError(
            f"this machine can't have a lab: {problems[0]}",
            remedy="mend that, or name machines of your own, reached over ssh, in cluster.yaml",
            details=problems[1:],
        )


def _problems(lab: Lab) -> Iterator[str]:
    if sys.platform != "linux":
        yield "it does not run Linux"
        return
    if os.geteuid() != 0:
        yield "you are not root"
    missing = missing_packages()
    if missing and find("apt-get") is None:
        yield f"{', '.join(missing)} not installed, and there is no apt-get to install them with"
    if not _has_overlay():
        yield "its kernel has no overlay file system"
    if lab.has_ipv6 and not _IPV6.is_dir():
        yield "its kernel has no IPv6, or was booted with ipv6.disable=1"
    for folder in dict.fromkeys((_existing(state_root()), _existing(trees_folder()))):
        free = shutil.disk_usage(folder).free
        if free < _FREE_BYTES:
            yield f"{folder} has {free / 1024**3:.1f} GiB free, 4 are needed"
    if _filesystem(state_root()) == "overlay":
        yield f"{state_root()} lies on an overlay, which carries no other: set XDG_STATE_HOME to a folder elsewhere"


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _has_overlay() -> bool:
    known = Path("/proc/filesystems").read_text(encoding="ascii").split()
    modules = Path("/lib/modules") / os.uname().release / "kernel/fs/overlayfs"
    return "overlay" in known or modules.is_dir()


def _filesystem(path: Path) -> str:
    """The type of the file system that `path` is or will be on."""
    device = _existing(path).stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        mount, _, kind = line.partition(" - ")
        if mount.split()[2] == number:
            return kind.split()[0]
    return ""
