"""For maintainers: compile everything of one Kubernetes version and write the digests into lock.json as `built`.

    python -m kharden.artifacts.pin 1.36.3 amd64

What it writes is reviewed and reproduced by somebody else before it is committed (docs/adr/0002).
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from kharden import securefile
from kharden.artifacts import lock
from kharden.artifacts.fetch import ARCHITECTURES, Maker
from kharden.artifacts.record import Record
from kharden.artifacts.store import Store, cache_root
from kharden.errors import InputError, KhardenError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kharden.artifacts.model import File, Progress


class Lines:
    """Progress as plain lines on standard error."""

    def start(self, item: str) -> None:
        """Say what comes next."""
        sys.stderr.write(f"{item} …\n")

    def done(self, item: str, seconds: float, cached: bool) -> None:  # noqa: FBT001 - as Progress
        """Say how long it took."""
        sys.stderr.write(f"{item}: {'cached' if cached else 'made'}, {seconds:.1f} s\n")


def pin(kubernetes: str, architecture: str, *, store: Store, progress: Progress) -> None:
    """Compile the programs of `kubernetes` for `architecture`, whatever the lock pins, and pin what came out.

    Raises:
        InputError: the lock does not know this version or architecture.
        BuildError, DownloadError, IntegrityError, WriteError: as `fetch`; the lock is then unchanged.
    """
    known = ARCHITECTURES.get(architecture)
    if known is None:
        raise InputError(f"architecture {architecture!r}: unknown", remedy=f"use one of {', '.join(ARCHITECTURES)}")
    own = lock.load()
    with Maker(Record(own, known, store), progress) as maker:
        files = [maker.program(replace(program, built={})) for program in own.kubernetes(kubernetes).programs]
    securefile.write_if_changed(lock.PATH, _with(lock.PATH.read_bytes(), files, known))


def _with(content: bytes, files: Sequence[File], architecture: str) -> bytes:
    value = json.loads(content)
    digests = {(file.name, file.version): file.sha256 for file in files}
    for program in value["programs"]:
        if sha256 := digests.get((program["name"], program["version"])):
            program["built"][architecture] = sha256
    return f"{json.dumps(value, indent=2)}\n".encode()


def main(arguments: Sequence[str]) -> int:
    """Run `pin`; an exit status."""
    if len(arguments) != len(("KUBERNETES", "ARCHITECTURE")):
        sys.stderr.write("usage: python -m kharden.artifacts.pin KUBERNETES ARCHITECTURE\n")
        return 1
    try:
        pin(arguments[0], arguments[1], store=Store(cache_root()), progress=Lines())
    except KhardenError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
