"""Programs of Debian for an image, with the libraries that they load and nothing else.

apt resolves, fetches and verifies (Debian's signature, apt-secure(8)), with lists and a cache of its own so that it
neither needs root nor changes this machine. Which packages came is recorded with versions and digests; while the
cache holds them they stay the same.
"""

from __future__ import annotations

import io
import os
import posixpath
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.artifacts import elf
from kharden.artifacts.store import DamagedError
from kharden.errors import IntegrityError, KhardenError, MissingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kharden.artifacts.lock import Architecture, DebianFiles
    from kharden.artifacts.store import Store

LIBRARIES = {"amd64": "/usr/lib/x86_64-linux-gnu", "arm64": "/usr/lib/aarch64-linux-gnu"}
MERGED = ("bin", "lib", "lib64", "sbin")  # links to their namesakes in /usr since Debian 12 (usrmerge)

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


class AptError(KhardenError):
    """apt or dpkg failed; this machine was not changed."""


@dataclass(frozen=True, slots=True)
class Package:
    """One Debian package as it was fetched: `sha256` is that of the .deb file."""

    name: str
    version: str
    sha256: str


def packages(wanted: DebianFiles, architecture: Architecture, store: Store, work: Path) -> tuple[Package, ...]:
    """The packages that `wanted` names and all that they depend on, as files in `store`, whose `work` this is.

    Raises:
        MissingError: this machine has no apt.
        AptError: they can't be had, or not verified.
    """
    key = f"{architecture} {' '.join(wanted.packages)}"
    try:
        known = tuple(Package(**each) for each in store.recall("debian", key) or ())
        for package in known:
            store.path(package.sha256)
    except (MissingError, DamagedError):
        known = ()
    if not known:
        known = _fetch(wanted.packages, architecture, store, work)
        store.record("debian", key, [asdict(package) for package in known])
    return known


def files(
    wanted: DebianFiles, architecture: Architecture, found: Sequence[Package], store: Store
) -> dict[str, tuple[bytes, int]]:
    """The files that `wanted` names and the libraries that they load: path below a merged /usr → content and mode.

    Raises:
        IntegrityError: a package lacks a file, or a library is in none of them.
    """
    tree = _Tree()
    for package in found:
        tree.add(store.path(package.sha256))
    chosen: dict[str, tuple[bytes, int]] = {}
    queue = list(wanted.files)
    while queue:
        path = merged(queue.pop(0))
        if path in chosen:
            continue
        content = tree.read(path)
        program = content.startswith(b"\x7fELF")
        chosen[path] = (content, 0o755 if program else 0o644)
        if program:
            queue += _loads(content, path, architecture)
    return chosen


def links(paths: Sequence[str]) -> dict[str, str]:
    """The links of a merged /usr that files at `paths` need: link → target."""
    return {f"/{name}": f"usr/{name}" for name in MERGED if any(path.startswith(f"/usr/{name}/") for path in paths)}


def merged(path: str) -> str:
    """Where `path` lies once /bin, /lib, /lib64 and /sbin are links into /usr."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return f"/usr{clean}" if clean.split("/")[1] in MERGED else clean


def _loads(content: bytes, path: str, architecture: Architecture) -> list[str]:
    described = elf.describe(io.BytesIO(content), path)
    if described.architecture != architecture:
        raise IntegrityError(f"{path}: a Debian package for {described.architecture}, not {architecture}")
    # The loader is asked for by its full path, and under its bare name by libc, which then is loaded already.
    libraries = [f"{LIBRARIES[architecture]}/{name}" for name in described.needed if not name.startswith("ld-linux")]
    return [*libraries, *([described.interpreter] if described.interpreter else [])]


class _Tree:
    """The files of some packages in memory, addressed below a merged /usr."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._links: dict[str, str] = {}

    def add(self, package: Path) -> None:
        """Add what the .deb file `package` holds."""
        content = _run(["dpkg-deb", "--fsys-tarfile", str(package)], "dpkg-deb")
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                path = merged(member.name)
                if member.issym():
                    self._links[path] = posixpath.join(posixpath.dirname(path), member.linkname)
                elif member.isreg() and (stream := archive.extractfile(member)):
                    self._files[path] = stream.read()

    def read(self, path: str) -> bytes:
        """The file at `path`, through links."""
        seen = path
        for _ in range(8):
            if seen in self._files:
                return self._files[seen]
            seen = merged(self._links.get(seen, ""))
        raise IntegrityError(f"{path}: in none of the Debian packages", remedy="report this with your Debian release")


def _fetch(names: Sequence[str], architecture: Architecture, store: Store, work: Path) -> tuple[Package, ...]:
    with tempfile.TemporaryDirectory(prefix="kharden-apt-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # run by root, apt fetches as a user of its own; all of it is public
        _configure(folder, architecture)
        apt = ["apt-get", "-c", str(folder / "apt.conf"), "-q", "-y"]
        problem: AptError | None = None
        try:
            _run([*apt, "update"], "apt-get update")
        except AptError as error:
            problem = error  # of another archive of this host, perhaps: what follows needs the distribution's only
        try:
            _run([*apt, "--download-only", "install", "--", *names], "apt-get install --download-only")
        except AptError as error:
            raise problem or error from None
        return tuple(_keep(file, store, work) for file in sorted((folder / "cache/archives").glob("*.deb")))


def _configure(folder: Path, architecture: Architecture) -> None:
    for part in ("state/lists/partial", "cache/archives/partial", "log"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()  # as if nothing were installed, so that apt resolves every library
    (folder / "preferences").write_text(PREFERENCES)
    (folder / "apt.conf").write_text(CONFIGURATION.format(folder=folder, architecture=architecture))


def _keep(file: Path, store: Store, work: Path) -> Package:
    form = "${Package} ${Version}"
    name, version = _run(["dpkg-deb", "--show", f"--showformat={form}", str(file)], "dpkg-deb").decode().split(" ")
    copy = work / file.name
    shutil.copyfile(file, copy)
    return Package(name, version, store.add(copy))


def _run(command: Sequence[str], name: str) -> bytes:
    environment: Mapping[str, str] = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True
        ).stdout
    except FileNotFoundError:
        raise MissingError(
            f"no {command[0]} here: kube-proxy's image takes nft and conntrack from Debian",
            remedy="run this on a Debian machine",
        ) from None
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.decode(errors="replace").splitlines() if line.strip()]
        reasons = [line for line in said if line.startswith(("E:", "dpkg-deb: error:"))]
        reason = (reasons or said[-1:] or ["no reason given"])[0]
        raise AptError(f"{name}: {reason}", remedy="see that apt works on this machine") from None
