"""The labs of this machine that are up, and what the host was like before the first of them.

It lies in /run, since everything in it ends with a boot of the host. Labs of other users and other state folders are in
it too: they share bridges, subnets and the kernel.
"""

from __future__ import annotations

import json
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kharden.errors import RefusedError
from kharden.lab import sysctls
from kharden.lab.leftovers import NSPAWN_RUNTIME, remove_nspawn_runtime
from kharden.lab.locks import locked
from kharden.lab.modules import missing_modules, unload_modules
from kharden.lab.places import REGISTER, state_folder
from kharden.securefile import write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from kharden.lab.model import IPNetwork, Lab

_HOST_RECORD = REGISTER / "host.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def only_run(lab_name: str) -> AbstractContextManager[None]:
    """While it is held, no other `up` or `down` of this lab runs.

    Raises:
        RefusedError: one does.
    """
    return locked(REGISTER / f"{lab_name}.lock", wait=False)


def others(lab_name: str) -> Iterator[tuple[str, IPNetwork]]:
    """(name, subnet) of the machine's other labs, for each of their subnets."""
    for path in sorted(REGISTER.glob("*.lab")):
        if path.stem != lab_name:
            recorded = _read(path)
            for key in ("subnet", "second_subnet"):
                with suppress(ValueError, KeyError):
                    yield path.stem, ip_network(recorded[key])


def enter(lab: Lab) -> None:
    """Enter the lab; the first one also records what the host is like.

    Raises:
        RefusedError: a lab of this name lies in another state folder.
    """
    with _held():
        entry = REGISTER / f"{lab.name}.lab"
        state = str(state_folder(lab.name))
        recorded = _read(entry).get("state", state)
        if recorded != state and Path(str(recorded)).is_dir():
            raise RefusedError(
                f"lab {lab.name}: there is one of that name in {recorded}", remedy="choose another name for one of them"
            )
        if _read(_HOST_RECORD).get("boot") != _boot_id():
            write(_HOST_RECORD, json.dumps(_host()).encode(), mode=0o600)
        # An older kharden on this machine reads the first alone.
        second = {} if lab.second_subnet is None else {"second_subnet": str(lab.second_subnet)}
        content = {"subnet": str(lab.subnet), "state": state} | second
        write(entry, json.dumps(content).encode(), mode=0o600)


def leave(lab_name: str) -> tuple[str, ...]:
    """Strike the lab out; the last one puts the host back as it was.

    Returns:
        The sysctls that could not be put back, since the kernel allows one way only.
    """
    with _held():
        (REGISTER / f"{lab_name}.lab").unlink(missing_ok=True)
        if any(REGISTER.glob("*.lab")):
            return ()
        recorded = _read(_HOST_RECORD)
        stuck: tuple[str, ...] = ()
        if recorded.get("boot") == _boot_id():
            stuck = sysctls.put_back(recorded["sysctls"])
            unload_modules(recorded["modules"])
            # A lab that an older kharden brought up has no record of it.
            if not recorded.get("nspawn", True):
                remove_nspawn_runtime()
        _HOST_RECORD.unlink(missing_ok=True)
        return stuck


def tidy(lab_name: str) -> None:
    """Remove what is left of the register where no lab uses it; to be called with `only_run` held."""
    (REGISTER / f"{lab_name}.lock").unlink(missing_ok=True)
    with _held():
        if any(path.suffix != ".hold" for path in REGISTER.iterdir()):
            return
        (REGISTER / "register.hold").unlink(missing_ok=True)
        with suppress(OSError):
            REGISTER.rmdir()


def _host() -> dict[str, object]:
    return {
        "boot": _boot_id(),
        "sysctls": sysctls.read_all(),
        "modules": missing_modules(),
        "nspawn": NSPAWN_RUNTIME.is_dir(),
    }


def _held() -> AbstractContextManager[None]:
    return locked(REGISTER / "register.hold", wait=True)


def _read(path: Path) -> dict[str, Any]:
    # Written whole or not at all, by us: what can't be read was removed meanwhile.
    with suppress(OSError, ValueError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def _boot_id() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()
