"""Programs, kernel settings, units."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from kharden.observe.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import InstalledPrograms, RunningPrograms, SysctlValue, UnitState
    from kharden.observe.examine.view import View


def running(check: RunningPrograms, view: View) -> Iterator[Finding]:
    """Each process is the locked file."""
    processes = [
        (entry.at("program").text(), entry.at("sha256").text()) for entry in view.facts.at("processes").entries()
    ]
    for program in check.programs:
        seen = sorted({digest for name, digest in processes if name == program})
        if not seen:
            yield Finding(f"{program} runs" if check.required else f"{program}, if it runs", "none", not check.required)
        for digest in seen:
            yield _held_against_lock(program, program, digest, view)


def installed(check: InstalledPrograms, view: View) -> Iterator[Finding]:
    """Each file is the locked one."""
    for path in check.paths:
        digest = view.facts.at("digests", path).text()
        yield _held_against_lock(path, PurePosixPath(path).name, digest, view)


def _held_against_lock(what: str, program: str, digest: str, view: View) -> Finding:
    locked = view.digests.get(program)
    if locked is None:
        return Finding(f"{what}: a digest in the lock of artifacts", f"sha256:{digest}, the lock has none", None)
    return Finding(f"{what}: sha256:{locked}", f"sha256:{digest}", digest == locked)


def sysctl(check: SysctlValue, view: View) -> Iterator[Finding]:
    """A kernel setting."""
    value = str(view.host.sysctl(check.name))
    yield Finding(f"{check.name} = {check.value}", value, value == check.value)


def unit(check: UnitState, view: View) -> Iterator[Finding]:
    """It runs, and will after a boot."""
    service = view.host.service(check.name)
    running_now, at_boot = service.is_running, service.is_enabled
    observed = f"{'running' if running_now else 'not running'}, {'enabled' if at_boot else 'not enabled'}"
    yield Finding(f"{check.name} running, enabled", observed, running_now and at_boot)
