"""What people have beside the nodes: a load balancer with an address and a name, and kubectl that knows that name."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.absence import wait_for
from tests.unit.render.programs import found

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PORT = 6443
_BALANCER = """\
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen api
    bind {address}:{port}
    server cp1 {server}:{port}
"""
# This machine's own /etc/hosts stays as it is: only what runs here sees the other one (mount_namespaces(7)).
_KNOWING = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'


@contextmanager
def balancer(folder: Path, bridge: str, address: str, server: str) -> Iterator[None]:
    """An address on the lab's bridge at which haproxy hands connections on to the API server of one node."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("needs haproxy: apt-get install haproxy")
    configuration = folder / "haproxy.cfg"
    configuration.write_text(_BALANCER.format(address=address, port=PORT, server=server), encoding="utf-8")
    subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", bridge], check=True)
    try:
        with subprocess.Popen([program, "-db", "-f", configuration]) as process:
            try:
                wait_for(lambda: process.poll() is not None or _answers(address), "the balancer", 60)
                assert process.poll() is None
                yield
            finally:
                process.terminate()
    finally:
        subprocess.run(["ip", "address", "delete", f"{address}/32", "dev", bridge], check=False)


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, PORT), timeout=5):
            return True
    except OSError:
        return False


def kubectl(kubeconfig: Path, hosts: Path, *arguments: str) -> str:
    """What kubectl prints on this machine, for which `hosts` stands in the place of /etc/hosts."""
    program = [found()["kubectl"], "--kubeconfig", str(kubeconfig), "--request-timeout=60s", *arguments]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", _KNOWING, "sh", str(hosts), *program],
        env=os.environ | {"HOME": str(hosts.parent)},  # where it keeps what it has discovered
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    return done.stdout + done.stderr
