"""Connections to nodes: a private ssh configuration for as long as they are needed, one connection a node."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kharden import securefile
from kharden.errors import IntegrityError, MissingError, RemoteError
from kharden.plan import transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.plan.model import ClusterPlan, NodePlan

# ssh(1): what it leaves with when the connection itself failed.
_NO_CONNECTION = 255
_OTHER_KEY = ("Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED", "No matching host key")
_ROOT = "root"


@dataclass(frozen=True, slots=True)
class Connection:
    """Ways to a cluster's nodes; `config` is the file for `ssh -F`."""

    config: Path

    def run_python(self, node: NodePlan, program: str, *, seconds: float) -> bytes:
        """Run a Python program on a node as root, from standard input; its standard output.

        Raises:
            IntegrityError: the node's ssh host key is not the pinned one.
            RemoteError: it could not be reached, took too long, or the program failed.
        """
        command = ["python3", "-I", "-"] if node.ssh.user == _ROOT else ["sudo", "-n", "python3", "-I", "-"]
        try:
            done = subprocess.run(
                ["ssh", "-F", str(self.config), node.name, "--", *command],
                input=program.encode(),
                capture_output=True,
                timeout=seconds,
                check=False,
                env=_environment(),
            )
        except subprocess.TimeoutExpired:
            raise RemoteError(f"{node.name}: no answer within {seconds:.0f} s", remedy="look at the node") from None
        except FileNotFoundError:
            raise MissingError("ssh is not installed here", remedy="install an OpenSSH client") from None
        if done.returncode:
            raise _failure(node, done)
        return done.stdout

    def close(self, node: NodePlan) -> None:
        """End what ssh keeps open to a node."""
        subprocess.run(
            ["ssh", "-F", str(self.config), "-O", "exit", node.name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
            env=_environment(),
        )


@contextmanager
def connections(plan: ClusterPlan) -> Iterator[Connection]:
    """A private folder with ssh's configuration and its control sockets; all gone in the end."""
    # Not in $TMPDIR, which may be long: a socket's path has 108 bytes (unix(7)).
    place = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"  # noqa: S108  # mkdtemp makes a private folder in it
    folder = Path(tempfile.mkdtemp(prefix="kharden-ssh-", dir=place))
    try:
        connection = Connection(folder / "ssh_config")
        securefile.write(folder / "known_hosts", transport.known_hosts(plan).encode(), mode=0o600)
        securefile.write(connection.config, transport.ssh_config(plan, folder, sockets=folder).encode(), mode=0o600)
        try:
            yield connection
        finally:
            for node in plan.nodes:
                if _has_sockets(folder):
                    connection.close(node)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _has_sockets(folder: Path) -> bool:
    return any(path.is_socket() for path in folder.iterdir())


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}


def _failure(node: NodePlan, done: subprocess.CompletedProcess[bytes]) -> IntegrityError | RemoteError:
    said = done.stderr.decode(errors="replace")
    if done.returncode == _NO_CONNECTION:
        if any(sign in said for sign in _OTHER_KEY):
            return IntegrityError(
                f"{node.name}: its ssh host key is not the pinned one",
                remedy="find out why before you trust it; nothing was sent there",
            )
        return RemoteError(f"{node.name}: can't be reached ({_last_line(said)})", remedy="look at the node and at ssh")
    return RemoteError(f"{node.name}: the collector failed there ({_last_line(said)})", remedy="look at the node")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "no reason given"
