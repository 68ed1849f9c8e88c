"""The ssh host keys that a machine shows, for a person to confirm before they are pinned in cluster.yaml."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from kharden import ssh
from kharden.errors import InputError, IntegrityError, MissingError, RemoteError
from kharden.observe.connection import connections

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.plan.model import ClusterPlan

_SECONDS = 20
_MAX_PORT = 65535
# One at a time, since a server shows one key a connection; ssh(1) -Q HostKeyAlgorithms.
_ALGORITHMS = ("ssh-ed25519", "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521", "rsa-sha2-512")


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key as cluster.yaml takes it, and its fingerprint as ssh-keygen -l shows it on the machine itself."""

    key: str
    fingerprint: str


def is_address(text: str) -> bool:
    """Whether this is an IP address, and so not the name of a machine in cluster.yaml."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


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


def scan_planned(plan: ClusterPlan, name: str) -> tuple[HostKey, ...]:
    """The host keys that a node or a jump host of the plan shows, asked the way that it is reached.

    Raises:
        InputError: there is no machine of that name, or the jump host on its way isn't pinned yet.
        IntegrityError: the jump host's key is not the pinned one.
        RemoteError: nobody answers.
    """
    machines = {machine.name: machine.ssh for machine in plan.machines}
    if name not in machines:
        raise InputError(f"{name[:60]!r} is no machine of cluster.yaml", remedy=f"known ones: {', '.join(machines)}")
    gate = machines[name].jump_host
    if gate is not None and not machines[gate].host_keys:
        raise InputError(f"{gate}: is on the way to {name}, and not pinned yet", remedy=f"scan {gate} first")
    with connections(plan) as connection:
        shown = [_shown(connection.config, name, algorithm) for algorithm in _ALGORITHMS]
        keys = sorted(key for key in shown if key)
        if not keys:
            said = ssh.explain(connection.config, name)
            foreign = ssh.foreign_host(said, name)
            if foreign not in {None, name}:
                raise IntegrityError(f"{foreign}: its ssh host key is not the pinned one", remedy="find out why")
            raise RemoteError(f"{name}: shows no key ({ssh.last_words(said)})", remedy="see that sshd runs there")
    return tuple(HostKey(key, _fingerprint(key)) for key in keys)


def _shown(config: Path, name: str, algorithm: str) -> str:
    """The key that a machine shows; ssh-keyscan knows no jump hosts, so ssh itself meets it, and doesn't log in."""
    met = config.with_name("met")
    met.unlink(missing_ok=True)
    options = {
        "ControlMaster": "no",
        "ControlPath": "none",
        "HashKnownHosts": "no",
        "HostKeyAlgorithms": algorithm,
        "PreferredAuthentications": "none",
        # Only into this file, which is read here and goes away; jump hosts are held against the pinned keys.
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": f'"{met}"',
    }
    flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    try:
        subprocess.run(
            ["ssh", "-F", str(config), *flags, name, "--", "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env=ssh.environment(),
        )
        return " ".join(met.read_text(encoding="ascii").split()[1:3])
    except FileNotFoundError:
        return ""
    except subprocess.TimeoutExpired:
        raise RemoteError(f"{name}: no answer within {_SECONDS} s", remedy="see that sshd runs there") from None


def _fingerprint(key: str) -> str:
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
