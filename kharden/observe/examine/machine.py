"""Programs, kernel settings, units."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from kharden.observe.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import (
        InstalledPrograms,
        InterfaceSetting,
        JournalBounded,
        JournalKept,
        JournalSetting,
        PackagedPrograms,
        RunningPrograms,
        SysctlValue,
        UnitState,
    )
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


def packaged(check: PackagedPrograms, view: View) -> Iterator[Finding]:
    """Each file is of a package and as that package brought it, and what runs is that file."""
    for path in check.paths:
        seen = view.facts.at("packaged", path)
        package, sha256 = seen.at("package").text(), seen.at("sha256").text()
        if not package:
            yield Finding(f"{path}: of a Debian package", f"sha256:{sha256}, of none", ok=False)
            continue
        known = f"{package} {seen.at('version').text()}"
        listed, found = seen.at("listed").text(), seen.at("md5").text()
        expected = f"{path}: md5:{listed}, as {known} brought it" if listed else f"{path}: listed by {known}"
        yield Finding(expected, f"md5:{found}, sha256:{sha256}", bool(listed) and found == listed)
        yield from _running_file(path, sha256, view)


def _running_file(path: str, sha256: str, view: View) -> Iterator[Finding]:
    """A process goes on with the file that it was started from, also after an update has replaced it."""
    program = PurePosixPath(path).name
    for entry in view.facts.at("processes").entries():
        if entry.at("program").text() == program and (other := entry.at("sha256").text()) != sha256:
            yield Finding(f"{program} runs as it is installed: sha256:{sha256}", f"sha256:{other}", ok=False)


def _held_against_lock(what: str, program: str, digest: str, view: View) -> Finding:
    locked = view.digests.get(program)
    if locked is None:
        return Finding(f"{what}: a digest in the lock of artifacts", f"sha256:{digest}, the lock has none", None)
    return Finding(f"{what}: sha256:{locked}", f"sha256:{digest}", digest == locked)


def sysctl(check: SysctlValue, view: View) -> Iterator[Finding]:
    """A kernel setting."""
    value = str(view.host.sysctl(check.name))
    yield Finding(f"{check.name} = {check.value}", value, value == check.value)


def interfaces(check: InterfaceSetting, view: View) -> Iterator[Finding]:
    """A kernel setting, on every interface."""
    values = {name: value.text() for name, value in view.facts.at("interfaces", check.name).table().items()}
    wrong = [f"{name}: {value}" for name, value in sorted(values.items()) if value != check.value]
    observed = ", ".join(wrong) or (f"{check.value} on each of {len(values)}" if values else "no interface has it")
    yield Finding(f"{check.name} = {check.value}", observed, not wrong and (bool(values) or not check.required))


def journal_setting(check: JournalSetting, view: View) -> Iterator[Finding]:
    """A setting of journald."""
    value = view.facts.at("journal", "settings").table().get(check.name)
    observed = value.text() if value else "not set"
    yield Finding(f"journald: {check.name}={check.value}", observed, observed == check.value)


def journal_kept(_: JournalKept, view: View) -> Iterator[Finding]:
    """A system journal on the disk."""
    kept = [path for path in view.facts.at("journal", "kept").table() if path.endswith("/system.journal")]
    yield Finding("/var/log/journal: the system's journal", ", ".join(kept) or "none", bool(kept))


def journal_bounded(check: JournalBounded, view: View) -> Iterator[Finding]:
    """The room that it takes."""
    used = sum(size.number() for size in view.facts.at("journal", "kept").table().values()) >> 20
    yield Finding(f"/var/log/journal: at most {check.most} MiB", f"{used} MiB", used <= check.most)


def unit(check: UnitState, view: View) -> Iterator[Finding]:
    """It runs, and will after a boot."""
    service = view.host.service(check.name)
    running_now, at_boot = service.is_running, service.is_enabled
    observed = f"{'running' if running_now else 'not running'}, {'enabled' if at_boot else 'not enabled'}"
    yield Finding(f"{check.name} running, enabled", observed, running_now and at_boot)
