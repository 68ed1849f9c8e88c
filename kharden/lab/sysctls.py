"""The host's sysctls: nodes share the kernel, so what a kubelet or the hardening sets there is set on the host.

Those below net. belong to a node's own network namespace and need no record.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT = Path("/proc/sys")
_SHARED = ("kernel", "vm", "fs", "net/bridge", "net/ipv4/ip_forward")
# They change by themselves or act when written; binfmt_misc is a file system of its own.
_LEFT_OUT = frozenset(
    {
        "kernel/ns_last_pid",
        "kernel/tainted",
        "kernel/random",
        "kernel/hostname",
        "kernel/domainname",
        "vm/drop_caches",
        "vm/compact_memory",
        "vm/stat_refresh",
        "fs/binfmt_misc",
    }
)
# What the kubelet sets (pkg/kubelet/cm, setupKernelTunables), and with protectKernelDefaults demands.
KUBELET = {
    "vm.overcommit_memory": "1",
    "vm.panic_on_oom": "0",
    "kernel.panic": "10",
    "kernel.panic_on_oops": "1",
    "kernel.keys.root_maxkeys": "1000000",
    "kernel.keys.root_maxbytes": "25000000",
}

# Limits for each user, and every node's root is the same one: systemd, kubelet and containerd of a node hold about
# thirty inotify instances, and a kubelet that gets none ends with "too many open files".
LIMITS = {"fs.inotify.max_user_instances": "1024"}


def read_all(root: Path = _ROOT) -> dict[str, str]:
    """Every writable sysctl that nodes and host share, by path below /proc/sys."""
    values = {}
    for start in _SHARED:
        for path in _files(root, root / start):
            value = _read(path)
            if value is not None:
                values[str(path.relative_to(root))] = value
    return values


def read(name: str) -> str | None:
    """One sysctl by its dotted name; None where this kernel has none of it."""
    return _read(_ROOT / name.replace(".", "/"))


def below_limits() -> dict[str, str]:
    """The limits that are too low here for several nodes, with the value that they shall have."""
    found = {name: read(name) for name in LIMITS}
    return {name: LIMITS[name] for name, value in found.items() if value is not None and int(value) < int(LIMITS[name])}


def raise_limits() -> None:
    """Raise what is too low; where the kernel refuses it, nodes have what there is."""
    for name, value in below_limits().items():
        with suppress(OSError):
            (_ROOT / name.replace(".", "/")).write_text(value, encoding="ascii")


def put_back(values: Mapping[str, str], root: Path = _ROOT) -> tuple[str, ...]:
    """Write back what differs from `values`, and return the names of those that the kernel does not take back."""
    stuck = []
    for name, value in values.items():
        path = root / name
        now = _read(path)
        if now is None or now == value:
            continue
        with suppress(OSError):
            path.write_text(value, encoding="ascii")
        if _read(path) != value:
            stuck.append(name.replace("/", "."))
    return tuple(stuck)


def _files(root: Path, start: Path) -> list[Path]:
    if start.is_file():
        return [start]
    found = []
    for folder, folders, files in os.walk(start):
        here = Path(folder)
        folders[:] = [name for name in folders if str((here / name).relative_to(root)) not in _LEFT_OUT]
        found += [here / name for name in files if str((here / name).relative_to(root)) not in _LEFT_OUT]
    return [path for path in found if path.stat().st_mode & 0o200]


def _read(path: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="ascii").strip()
    return None
