"""The Debian mirror that this host is configured to use."""

from __future__ import annotations

import os
from pathlib import Path

from kharden.errors import InputError, MissingError
from kharden.lab.programs import path_of, run

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_VARIABLE = "KHARDEN_DEBIAN_MIRROR"
# Debian's cloud images name a file with mirrors (apt-transport-mirror(1)).
_LIST = "mirror+file:"
_SCHEMES = ("http://", "https://", "file:/")
# apt-get(8), indextargets: apt itself reads its sources, in whichever of its formats.
_FORMAT = "$(REPO_URI) $(RELEASE) $(COMPONENT)"


def debian_mirror() -> str:
    """The address of the archive: `KHARDEN_DEBIAN_MIRROR`, else the first Debian one in apt's sources.

    Raises:
        MissingError: neither is there.
        InputError: the variable holds no address.
    """
    chosen = os.environ.get(_VARIABLE)
    if chosen:
        if not chosen.startswith(_SCHEMES):
            raise InputError(f"{_VARIABLE}={chosen}: not an address", remedy="set it to a mirror's http(s) address")
        return chosen
    apt = path_of("apt-get", "apt")
    targets = run([apt, "indextargets", "--format", _FORMAT, "Created-By: Packages"], what="asking apt for its sources")
    found = mirror_of(targets)
    if found is None:
        raise MissingError(
            "apt's sources on this machine name no Debian mirror", remedy=f"set {_VARIABLE} to the address of one"
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
        if component == "main" and address.rstrip("/").endswith("/debian") and "-" not in suite:
            return address.rstrip("/")
    return None


def _first_of(mirrors: Path) -> str:
    words = mirrors.read_text(encoding="utf-8").split() if mirrors.is_file() else []
    return words[0] if words else ""
