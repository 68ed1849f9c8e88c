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

from kharden import securefile, ssh
from kharden.errors import IntegrityError, MissingError, RemoteError
from kharden.plan import transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.plan.model import ClusterPlan, JumpHostPlan, NodePlan

# ssh(1): what it leaves with when the connection itself failed.
_NO_CONNECTION = 255


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
        command = [*(["sudo", "-n"] if node.ssh.becomes else []), "python3", "-I", "-"]
        try:
            done = subprocess.run(
                ["ssh", "-F", str(self.config), node.name, "--", *command],
                input=program.encode(),
                capture_output=True,
                timeout=seconds,
                check=False,
                env=ssh.environment(),
            )
        except subprocess.TimeoutExpired:
            raise RemoteError(f"{node.name}: no answer within {seconds:.0f} s", remedy="look at the node") from None
        except FileNotFoundError:
            raise MissingError("ssh is not installed here", remedy="install an OpenSSH client") from None
        if done.returncode:
            raise self._failure(node, done)
        return done.stdout

    def _failure(self, node: NodePlan, done: subprocess.CompletedProcess[bytes]) -> IntegrityError | RemoteError:
        said = done.stderr.decode(errors="replace")
        if done.returncode != _NO_CONNECTION:
            if node.ssh.becomes and ssh.lacks_sudo(said):
                return RemoteError(
                    f"{node.name}: {node.ssh.user} can't become root ({ssh.last_words(said)})", remedy=ssh.SUDO_REMEDY
                )
            return RemoteError(
                f"{node.name}: the collector failed there ({ssh.last_words(said)})", remedy="look at the node"
            )
        if node.ssh.jump_host is not None:
            said = ssh.explain(self.config, node.name) or said
        foreign = ssh.foreign_host(said, node.name)
        if foreign is not None:
            return IntegrityError(
                f"{foreign}: its ssh host key is not the pinned one",
                remedy="find out why before you trust it; nothing was sent there",
            )
        return RemoteError(
            f"{node.name}: can't be reached ({ssh.last_words(said)})", remedy="look at the node and at ssh"
        )

    def close(self, machine: NodePlan | JumpHostPlan) -> None:
        """End what ssh keeps open to a machine."""
        subprocess.run(
            ["ssh", "-F", str(self.config), "-O", "exit", machine.name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
            env=ssh.environment(),
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
            for machine in reversed(plan.machines):
                if _has_sockets(folder):
                    connection.close(machine)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _has_sockets(folder: Path) -> bool:
    return any(path.is_socket() for path in folder.iterdir())
