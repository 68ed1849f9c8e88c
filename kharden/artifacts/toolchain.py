"""The Go that compiles: exactly the lock's version, from this machine's `go` or fetched and verified.

A `go` of 1.21 or later fetches the version that GOTOOLCHAIN names and checks it against Go's checksum database
(go.dev/doc/toolchain). Without one, the same module zip is fetched here and checked against the lock. It is unpacked
anew by each process that compiles: what runs is always what was just verified.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import urllib.request
import zipfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kharden.artifacts.store import DamagedError, digest_of
from kharden.errors import IntegrityError, KhardenError, MissingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kharden.artifacts.forms import Architecture
    from kharden.artifacts.lock import Download, Toolchain
    from kharden.artifacts.store import Store

OLDEST = (1, 21)  # the first `go` that knows GOTOOLCHAIN
TIMEOUT = 60  # seconds without a byte
HOSTS: dict[str, Architecture] = {"x86_64": "amd64", "aarch64": "arm64"}  # uname's names

# What a compile may take from its surroundings: where things lie and how to reach them, never what is compiled.
INHERITED = (
    *("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
# What `go` is asked for, since it may also stand in the user's `go env -w` file, and what its answer derives from.
SETTINGS = ("GOPROXY", "GOSUMDB", "GOMODCACHE", "GOCACHE")
PLACES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "GOENV", "GOPATH")


class DownloadError(KhardenError, ConnectionError):
    """Something could not be fetched; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Go:
    """A `go` command and the whole environment that it runs in."""

    command: Path
    environment: Mapping[str, str]


def find(toolchain: Toolchain, store: Store, work: Path, environment: Mapping[str, str] = os.environ) -> Go:
    """The Go of `toolchain`: this machine's, if it can be told to be that version, else one unpacked in `work`.

    Raises:
        MissingError: there is no Go, and none is published for this machine.
        DownloadError: it could not be fetched.
        IntegrityError: it is not the pinned file.
    """
    if own := _installed(environment):
        return Go(own, {**_settings(own, environment), "GOTOOLCHAIN": toolchain.version})
    command = _unpack(toolchain, store, work, environment)
    return Go(command, {**_settings(command, environment), "GOTOOLCHAIN": "local"})


def _installed(environment: Mapping[str, str]) -> Path | None:
    found = shutil.which("go", path=environment.get("PATH"))
    if found is None:
        return None
    version = re.match(r"go(\d+)\.(\d+)", _ask(Path(found), environment, "GOVERSION").get("GOVERSION", ""))
    return Path(found) if version and (int(version[1]), int(version[2])) >= OLDEST else None


def _settings(go: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a compile but GOTOOLCHAIN: nothing here changes what comes out."""
    taken = {name: environment[name] for name in INHERITED if name in environment}
    found = {name: value for name, value in _ask(go, environment, *SETTINGS).items() if value}
    fixed = {"CGO_ENABLED": "0", "GOENV": "off", "GOFLAGS": "", "GOWORK": "off", "GOOS": "linux", "LC_ALL": "C"}
    return taken | found | fixed


def _ask(go: Path, environment: Mapping[str, str], *names: str) -> dict[str, str]:
    asked = {name: environment[name] for name in (*INHERITED, *PLACES, *SETTINGS) if name in environment}
    try:
        answer = subprocess.run(
            [go, "env", "-json", *names],
            env={**asked, "GOTOOLCHAIN": "local"},
            cwd="/",
            capture_output=True,
            check=True,
            timeout=TIMEOUT,
        )
        return {name: str(value) for name, value in json.loads(answer.stdout).items()}
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}  # too old or broken: as if it were not there


def _unpack(toolchain: Toolchain, store: Store, work: Path, environment: Mapping[str, str]) -> Path:
    architecture = HOSTS.get(platform.machine())
    download = toolchain.zips.get(architecture) if architecture and platform.system() == "Linux" else None
    if download is None:
        raise MissingError(f"no Go for {platform.system()} on {platform.machine()}", remedy="install Go 1.21 or later")
    version = f"v0.0.1-{toolchain.version}.linux-{architecture}"
    archive = _archive(download, f"golang.org/toolchain/@v/{version}.zip", store, work, environment)
    return _extract(archive, f"golang.org/toolchain@{version}/", work / "go")


def _archive(download: Download, location: str, store: Store, work: Path, environment: Mapping[str, str]) -> Path:
    try:
        return store.path(download.sha256)
    except (MissingError, DamagedError):
        file = fetch_file(f"{proxy(environment)}/{location}", download, work / "toolchain.zip")
        return store.path(store.add(file))


def proxy(environment: Mapping[str, str]) -> str:
    """The first proxy of $GOPROXY; its list is parted by commas or bars and may say "direct" or "off" as well.

    Raises:
        MissingError: it has none, and a toolchain can't be had directly.
    """
    listed = environment.get("GOPROXY", "")
    for entry in re.split("[,|]", listed):
        if urlsplit(entry.strip()).scheme in {"http", "https", "file"}:
            return entry.strip().rstrip("/")
    raise MissingError("GOPROXY names no proxy to fetch Go from", remedy="install Go 1.21 or later, or name a proxy")


def fetch_file(url: str, download: Download, target: Path) -> Path:
    """Fetch `url` into `target` and verify it; an endless answer is cut off, credentials in `url` are never shown.

    Raises:
        DownloadError: no answer, or an error.
        IntegrityError: not the pinned file; it has been removed.
    """
    shown = urlsplit(url)._replace(netloc=urlsplit(url).hostname or "").geturl()
    try:
        # The scheme is http, https or file: see proxy().
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, target.open("wb") as stream:  # noqa: S310
            left = download.size + 1
            while left and (chunk := answer.read(min(left, 1 << 20))):
                left -= stream.write(chunk)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise DownloadError(
            f"{shown}: can't fetch ({reason})", remedy="look at the network, GOPROXY and the disk"
        ) from None
    found = digest_of(target)
    if found != download.sha256:
        size = target.stat().st_size
        target.unlink()
        raise IntegrityError(
            f"{shown}: {size} bytes with sha256 {found}, not the pinned {download.sha256}", remedy="try another proxy"
        )
    return target


def _extract(archive: Path, prefix: str, folder: Path) -> Path:
    """Unpack a verified toolchain as `go` does: go.mod files back to their names, programs executable."""
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            name = member.filename.removeprefix(prefix)
            if name == member.filename or ".." in PurePosixPath(name).parts:
                raise IntegrityError(f"{archive}: holds {member.filename!r}", remedy="report this")
            if member.is_dir():
                continue
            target = folder / (f"{name.removesuffix('_go.mod')}go.mod" if name.endswith("/_go.mod") else name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with content.open(member) as source, target.open("wb") as stream:
                shutil.copyfileobj(source, stream)
            if name.startswith(("bin/", "pkg/tool/")):
                target.chmod(0o755)
    return folder / "bin" / "go"
