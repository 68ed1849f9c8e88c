"""Kernel modules that a cluster needs and no program loads by itself; nodes can't, since the kernel is the host's."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.lab.programs import ProgramError, run

if TYPE_CHECKING:
    from collections.abc import Iterable

_MODULES = Path("/lib/modules")
_BRIDGE = Path("/proc/sys/net/bridge")
# Each module with what is there once it is loaded or built in.
_WITNESSES = {"br_netfilter": _BRIDGE, "nf_conntrack": Path("/proc/sys/net/netfilter/nf_conntrack_max")}


def missing_modules() -> tuple[str, ...]:
    """Those that `up` has to load; none where this kernel has no modules at all."""
    if not _MODULES.is_dir():
        return ()
    return tuple(name for name, witness in _WITNESSES.items() if not witness.exists())


def load_modules(names: Iterable[str]) -> None:
    """Load them, without a change to what the host's own bridges let through.

    Raises:
        ProgramError: the kernel doesn't have one.
    """
    for name in names:
        run(["modprobe", name], what=f"loading the kernel module {name}")
        if name == "br_netfilter":
            # Once loaded, it shows bridged packets to the host's firewall, which often drops what it doesn't know
            # (Docker's does). A node's own network namespace has a switch of its own (since Linux 5.3).
            for switch in _BRIDGE.glob("bridge-nf-call-*"):
                switch.write_text("0", encoding="ascii")


def unload_modules(names: Iterable[str]) -> None:
    """Unload those that nothing uses any more."""
    for name in names:
        with suppress(ProgramError):
            run(["modprobe", "--remove", name], what=f"unloading the kernel module {name}")
