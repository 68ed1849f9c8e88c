"""For maintainers: compile everything of one Kubernetes version and write the digests into lock.json as `built`.

    python -m kharden.artifacts.pin 1.36.3 amd64
    python -m kharden.artifacts.pin packages        the Debian packages of images, as Debian's archive has them now
    python -m kharden.artifacts.pin seal            after lock.json was changed by hand

What it writes is reviewed and reproduced by somebody else before it is committed (docs/adr/0002). Sealing raises the
lock's serial and writes its digest into kharden/artifacts/sealed.py, without which the lock is refused.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kharden import securefile
from kharden.artifacts import apt, lock, sealed
from kharden.artifacts.debian_mirror import debian_archives
from kharden.artifacts.fetch import ARCHITECTURES, Maker
from kharden.artifacts.record import Record
from kharden.artifacts.store import Store, cache_root, digest_of
from kharden.errors import InputError, KhardenError
from kharden.plan.model import ArtifactsPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kharden.artifacts.debian_mirror import Archives
    from kharden.artifacts.forms import Architecture
    from kharden.artifacts.lock import Lock
    from kharden.artifacts.model import File, Progress


class Lines:
    """Progress as plain lines on standard error."""

    def start(self, item: str) -> None:
        """Say what comes next."""
        sys.stderr.write(f"{item} …\n")

    def advance(self, item: str, done: int, total: int) -> None:
        """Nothing: a line for each part would be too many."""

    def done(self, item: str, seconds: float, cached: bool) -> None:  # noqa: FBT001 - as Progress
        """Say how long it took."""
        sys.stderr.write(f"{item}: {'cached' if cached else 'made'}, {seconds:.1f} s\n")


def pin(own: Lock, kubernetes: str, architecture: str, *, store: Store, progress: Progress) -> None:
    """Compile the programs of `kubernetes` for `architecture`, whatever the lock pins, and pin what came out.

    Raises:
        InputError: the lock does not know this version or architecture.
        BuildError, DownloadError, IntegrityError, WriteError: as `fetch`; the lock is then unchanged.
    """
    known = ARCHITECTURES.get(architecture)
    if known is None:
        raise InputError(f"architecture {architecture!r}: unknown", remedy=f"use one of {', '.join(ARCHITECTURES)}")
    here = ArtifactsPlan(official=False, mirror="")
    with Maker(Record(own, known, store), here, progress) as maker:
        files = [maker.program(replace(program, built={})) for program in own.kubernetes(kubernetes).programs]
    securefile.write_if_changed(lock.PATH, _with(lock.PATH.read_bytes(), files, known))


def pin_packages(own: Lock, *, now: datetime) -> None:
    """Pin the packages that images name, and all that they depend on, as apt finds and verifies them now.

    Raises:
        InputError, MissingError: this machine has no apt, or no Debian mirror.
        AptError: they can't be had, or not verified; the lock is then unchanged.
    """
    names = sorted({name for image in own.images if image.debian for name in image.debian.packages})
    archives = debian_archives()
    pins: dict[str, object] = {"suite": own.debian.suite, "taken": now.strftime("%Y%m%dT%H%M%SZ")}
    pins["packages"] = {each: _current(names, each, own.debian.suite, archives) for each in own.debian.packages}
    value = json.loads(lock.PATH.read_bytes())
    if value["debian"]["packages"] != pins["packages"]:
        securefile.write(lock.PATH, f"{json.dumps(value | {'debian': pins}, indent=2)}\n".encode())


def _current(names: Sequence[str], architecture: Architecture, suite: str, archives: Archives) -> list[dict[str, Any]]:
    with apt.resolved(names, architecture, suite=suite, archives=archives) as found:
        return [
            {
                "name": each.name,
                "version": each.version,
                "path": each.path,
                "sha256": digest_of(each.file),
                "size": each.file.stat().st_size,
            }
            for each in found
        ]


SEAL = Path(sealed.__file__)


def seal() -> int:
    """Make the lock as it lies there the one that this kharden takes; its new serial.

    Raises:
        IntegrityError: it is no whole lock.
        WriteError: it can't be written.
    """
    content = lock.PATH.read_bytes()
    if hashlib.sha256(content).hexdigest() == sealed.SHA256:
        return sealed.SERIAL
    serial = sealed.SERIAL + 1
    content = f"{json.dumps(json.loads(content) | {'serial': serial}, indent=2)}\n".encode()
    lock.parse(content, str(lock.PATH))
    text, _, _ = SEAL.read_text(encoding="utf-8").partition("SERIAL =")
    securefile.write(lock.PATH, content)
    sha256 = hashlib.sha256(content).hexdigest()
    securefile.write(SEAL, f'{text}SERIAL = {serial}\nSHA256 = "{sha256}"\n'.encode())
    return serial


def _with(content: bytes, files: Sequence[File], architecture: str) -> bytes:
    value = json.loads(content)
    digests = {(file.name, file.version): file.sha256 for file in files}
    for program in value["programs"]:
        if sha256 := digests.get((program["name"], program["version"])):
            program["built"][architecture] = sha256
    return f"{json.dumps(value, indent=2)}\n".encode()


def main(arguments: Sequence[str]) -> int:
    """Run `pin`, `pin_packages` or `seal`; an exit status."""
    if list(arguments) not in (["seal"], ["packages"]) and len(arguments) != len(("KUBERNETES", "ARCHITECTURE")):
        sys.stderr.write("usage: python -m kharden.artifacts.pin KUBERNETES ARCHITECTURE | packages | seal\n")
        return 1
    try:
        if list(arguments) != ["seal"]:
            own = lock.parse(lock.PATH.read_bytes(), str(lock.PATH))
            if list(arguments) == ["packages"]:
                pin_packages(own, now=datetime.now(UTC))
            else:
                pin(own, arguments[0], arguments[1], store=Store(cache_root()), progress=Lines())
        sys.stderr.write(f"lock {seal()} is sealed\n")
    except KhardenError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
