"""apt as a program that fetches, with lists and a cache of its own: it needs no root and changes nothing here.

What it takes is verified by apt itself (Debian's signature, apt-secure(8)) or by a digest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from kharden.artifacts.debian_mirror import KEYRING, Archives
from kharden.errors import KhardenError, MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kharden.artifacts.forms import Architecture
    from kharden.artifacts.lock import DebianPackage

HELPER = "/usr/lib/apt/apt-helper"  # of the package apt itself; it has no place in PATH
_SANDBOX = "_apt"  # as whom apt fetches when root starts it

# Read after the host's own configuration. Hooks of the host are not run; other archives than the distribution's own
# may be configured there, and nothing is taken from them.
CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Log "{folder}/log";
Dir::Etc::preferences "{folder}/preferences";
Dir::Etc::preferencesparts "/dev/null";
Debug::NoLocking "true";
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Languages "none";
"""
PREFERENCES = """\
Package: *
Pin: release o=Debian
Pin-Priority: 700

Package: *
Pin: release o=Ubuntu
Pin-Priority: 700

Package: *
Pin: release o=*
Pin-Priority: -1
"""
# Only one suite, whatever the host is.
ONE_SUITE = """\
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
"""
_SUITE_OF_SECURITY = "{suite}-security"


class AptError(KhardenError):
    """apt or dpkg failed; this machine was not changed."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A package that apt chose, verified and fetched: the file, and its path in the archive."""

    name: str
    version: str
    path: str
    file: Path


@contextmanager
def resolved(
    names: Sequence[str], architecture: Architecture, *, suite: str = "", archives: Archives | None = None
) -> Iterator[tuple[Resolved, ...]]:
    """Packages `names` and all that they depend on, of this machine's Debian or of `suite` from `archives`.

    Raises:
        MissingError: this machine has no apt.
        AptError: they can't be had, or not verified.
    """
    with tempfile.TemporaryDirectory(prefix="kharden-apt-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # run by root, apt fetches as a user of its own; all of it is public
        _configure(folder, architecture)
        if archives:
            _choose(folder, suite, archives)
        apt = ["apt-get", "-c", str(folder / "apt.conf"), "-q", "-y"]
        problem: AptError | None = None
        try:
            run([*apt, "update"], "apt-get update")
        except AptError as error:
            problem = error  # of another archive of this host, perhaps: what follows needs the distribution's only
        try:
            listed = run([*apt, "--print-uris", "install", "--", *names], "apt-get install --print-uris")
            run([*apt, "--download-only", "install", "--", *names], "apt-get install --download-only")
        except AptError as error:
            raise problem or error from None
        paths = dict(map(_address, filter(_is_file, listed.decode().splitlines())))
        yield tuple(_resolved(file, paths) for file in sorted((folder / "cache/archives").glob("*.deb")))


def download(packages: Sequence[DebianPackage], archives: Archives) -> Iterator[tuple[DebianPackage, Path]]:
    """Each of `packages` that `archives` has and whose digest is right; its file is gone afterwards.

    Raises:
        MissingError: this machine has no apt.
    """
    with tempfile.TemporaryDirectory(prefix="kharden-apt-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            with suppress(LookupError):  # no such user: apt then fetches as root, and says so
                shutil.chown(folder, _SANDBOX)
        asked: list[str] = []
        for package in packages:
            digests = (f"SHA256:{package.sha256}", f"Checksum-FileSize:{package.size}")
            asked += (archives.address(package.path), str(folder / f"{package.sha256}.deb"), *digests)
        with suppress(AptError):  # which ones are not there tells more than its last line
            run([HELPER, "download-file", *asked], "apt-helper")
        for package in packages:
            file = folder / f"{package.sha256}.deb"
            if file.is_file():
                yield package, file


def run(command: Sequence[str], name: str) -> bytes:
    """What a program of apt or dpkg wrote.

    Raises:
        MissingError: there is none here.
        AptError: it failed; the message is its own reason.
    """
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True
        ).stdout
    except FileNotFoundError:
        raise MissingError(
            f"no {Path(command[0]).name} here: kube-proxy's image takes nft and conntrack from Debian",
            remedy="run this on a Debian machine",
        ) from None
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.decode(errors="replace").splitlines() if line.strip()]
        reasons = [line for line in said if line.startswith(("E:", "dpkg-deb: error:"))]
        reason = (reasons or said[-1:] or ["no reason given"])[0]
        raise AptError(f"{name}: {reason}", remedy="see that apt works on this machine") from None


def _configure(folder: Path, architecture: Architecture) -> None:
    for part in ("state/lists/partial", "cache/archives/partial", "log"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()  # as if nothing were installed, so that apt resolves every library
    (folder / "preferences").write_text(PREFERENCES)
    (folder / "apt.conf").write_text(CONFIGURATION.format(folder=folder, architecture=architecture))


def _choose(folder: Path, suite: str, archives: Archives) -> None:
    sources = (
        (archives.main, suite),
        (archives.main, f"{suite}-updates"),
        (archives.security, _SUITE_OF_SECURITY.format(suite=suite)),
    )
    lines = [f"deb [signed-by={KEYRING}] {address} {name} main\n" for address, name in sources]
    (folder / "sources.list").write_text("".join(lines))
    with (folder / "apt.conf").open("a") as stream:
        stream.write(ONE_SUITE.format(folder=folder))


def _is_file(line: str) -> bool:
    """apt-get(8), --print-uris: 'address' file size digest, among other lines."""
    return line.startswith("'") and "/pool/" in line


def _address(line: str) -> tuple[str, str]:
    address, file, *_ = line.split()
    return file, unquote(address.strip("'"))


def _resolved(file: Path, paths: dict[str, str]) -> Resolved:
    form = "${Package} ${Version}"
    name, version = run(["dpkg-deb", "--show", f"--showformat={form}", str(file)], "dpkg-deb").decode().split(" ")
    _, pool, rest = paths.get(file.name, "").partition("/pool/")
    return Resolved(name, version, f"{pool.lstrip('/')}{rest}", file)
