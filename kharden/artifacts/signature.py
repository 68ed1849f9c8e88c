"""Publishers' signatures: checked with cosign where they sign and where cosign and its trust are here, and said.

The digest in the lock decides which bytes are used, with or without a signature. A signature that is there and is
wrong refuses the file all the same: then the lock, the publisher or this machine's trust is not what it should be.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.errors import IntegrityError

if TYPE_CHECKING:
    from kharden.artifacts.download import Downloader
    from kharden.artifacts.lock import Program, Signer

TIMEOUT = 120  # seconds; cosign may refresh its trust over the network
INHERITED = ("PATH", "HOME", "TUF_ROOT", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY")


def check(  # noqa: PLR0913, PLR0917 - one question, and all that it is about
    program: Program, file: Path, signer: Signer | None, location: str, downloader: Downloader, folder: Path
) -> str:
    """What can be said of the signature of `file`, the published one of `program`, fetched from `location`.

    Raises:
        IntegrityError: it is another's, or of another file.
        DownloadError: the signature is there and can't be had.
    """
    if signer is None:
        return "not checked: the lock names no signer of it"
    cosign = shutil.which("cosign")
    if cosign is None:
        return "not checked: cosign is not installed"
    if not trust().is_dir():
        return f"not checked: cosign has no trust root in {trust()} (cosign initialize makes it)"
    paths = []
    for suffix in (signer.signature, signer.certificate):
        content = downloader.text(location + suffix)
        if content is None:
            return f"not checked: no {program.name}{suffix} beside it"
        path = folder / f"{program.name}{suffix}"
        path.write_bytes(content)
        paths.append(path)
    _verify(
        program, [cosign, "verify-blob", "--signature", str(paths[0]), "--certificate", str(paths[1])], signer, file
    )
    return f"checked: {signer.identity}"


def trust() -> Path:
    """Where cosign keeps the roots that it trusts (sigstore's TUF client)."""
    own = os.environ.get("TUF_ROOT")
    return Path(own) if own else Path.home() / ".sigstore" / "root"


def _verify(program: Program, command: list[str], signer: Signer, file: Path) -> None:
    command += [f"--certificate-identity={signer.identity}", f"--certificate-oidc-issuer={signer.issuer}", str(file)]
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    try:
        ended = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
        said = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
        reason = "" if ended.returncode == 0 else (said or [f"status {ended.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"no answer in {TIMEOUT} s"
    if reason:
        raise IntegrityError(
            f"{program}: its signature by {signer.identity} isn't good (cosign: {reason[:200]})",
            remedy="don't use this file; where only cosign's trust is stale, run cosign initialize",
        )
