"""The ssh host keys that a machine shows, for a person to confirm before they are pinned in cluster.yaml."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address

from kharden.errors import InputError, MissingError, RemoteError

_SECONDS = 20
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key as cluster.yaml takes it, and its fingerprint as ssh-keygen -l shows it on the machine itself."""

    key: str
    fingerprint: str


def scan(address: str, port: int) -> tuple[HostKey, ...]:
    """The host keys that whoever answers at `address` shows. Nothing vouches for them: a person has to.

    Raises:
        InputError: no address or port.
        MissingError: ssh-keyscan is not on this machine.
        RemoteError: nobody answers.
    """
    try:
        host = str(ip_address(address))
    except ValueError:
        raise InputError(f"{address!r} is not an IP address", remedy="write it as 192.0.2.11") from None
    if not 0 < port <= _MAX_PORT:
        raise InputError(f"{port} is not a port", remedy=f"write a number from 1 to {_MAX_PORT}")
    try:
        done = subprocess.run(
            ["ssh-keyscan", "-T", str(_SECONDS // 2), "-p", str(port), host],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise MissingError("ssh-keyscan is not on this machine", remedy="install openssh-client") from None
    except subprocess.TimeoutExpired:
        done = None
    lines = done.stdout.splitlines() if done else []
    keys = sorted(" ".join(line.split()[1:3]) for line in lines if line and not line.startswith("#"))
    if not keys:
        raise RemoteError(f"{host}: no ssh server answers on port {port}", remedy="see that sshd runs there")
    return tuple(HostKey(key, _fingerprint(key)) for key in keys)


def _fingerprint(key: str) -> str:
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
