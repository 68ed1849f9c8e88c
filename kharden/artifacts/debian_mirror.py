"""The Debian mirror that this machine is configured to use."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kharden.errors import InputError, MissingError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
VARIABLE = "KHARDEN_DEBIAN_MIRROR"
# Debian's cloud images name a file with mirrors (apt-transport-mirror(1)).
_LIST = "mirror+file:"
_SCHEMES = ("http://", "https://", "file:/")
# apt-get(8), indextargets: apt itself reads its sources, in whichever of its formats.
_ASK = ("indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
_MAIN, _SECURITY = "/debian", "/debian-security"


@dataclass(frozen=True, slots=True)
class Archives:
    """Addresses without a slash at the end: Debian's archive, and the one of its security updates."""

    main: str
    security: str

    def address(self, path: str) -> str:
        """Where the package lies whose path below its archive is `path`; of a file, the form that copies it."""
        base = self.security if path.startswith("pool/updates/") else self.main
        return f"{base.replace('file:', 'copy:', 1) if base.startswith('file:') else base}/{path}"


def debian_archives() -> Archives:
    """The mirror of `debian_mirror`, and the archive of security updates beside it.

    Mirrors have both side by side, deb.debian.org and snapshot.debian.org as well.

    Raises:
        InputError, MissingError: as `debian_mirror`.
    """
    main = debian_mirror()
    head, found, tail = main.rpartition(_MAIN)
    return Archives(main, f"{head}{_SECURITY}{tail}" if found else main)


def debian_mirror() -> str:
    """The address of the archive: `KHARDEN_DEBIAN_MIRROR`, else the first Debian one in apt's sources.

    Raises:
        MissingError: neither is there.
        InputError: the variable holds no address.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        if not chosen.startswith(_SCHEMES):
            raise InputError(f"{VARIABLE}={chosen}: not an address", remedy="set it to a mirror's http(s) address")
        return chosen.rstrip("/")
    found = mirror_of(_targets())
    if found is None:
        raise MissingError(
            "apt's sources on this machine name no Debian mirror", remedy=f"set {VARIABLE} to the address of one"
        )
    return found


def mirror_of(targets: str) -> str | None:
    """The first main archive among lines of "address suite component", or None.

    The archive holds every suite, so the host's own release doesn't matter; those for updates and security fixes hold
    no whole release.
    """
    for line in targets.splitlines():
        address, _, rest = line.partition(" ")
        suite, _, component = rest.partition(" ")
        if address.startswith(_LIST):
            address = _first_of(Path(address.removeprefix(_LIST)))
        if component == "main" and address.rstrip("/").endswith(_MAIN) and "-" not in suite:
            return address.rstrip("/")
    return None


def _targets() -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["apt-get", *_ASK], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise MissingError("this machine has no apt-get", remedy="run this on a Debian machine") from None
    return done.stdout if done.returncode == 0 else ""


def _first_of(mirrors: Path) -> str:
    words = mirrors.read_text(encoding="utf-8").split() if mirrors.is_file() else []
    return words[0] if words else ""
