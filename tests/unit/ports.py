"""Ports of this machine that nobody has but the test that asks for one."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 11_000  # below are those of Kubernetes itself

_given: set[int] = set()


def free_port() -> int:
    """A port that nobody has, and that no other process of this run is given.

    The kernel gives one of its own range to every connection and to whoever asks for any port, also between our look
    and the program that then listens: so those here lie outside of it, and each process of the run has its share.
    """
    lowest, highest = map(int, _EPHEMERAL.read_text(encoding="ascii").split())
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    outside = [*range(_LOWEST, lowest), *range(highest + 1, 65_536)]
    left: list[int] = [port for port in outside[own::processes] if port not in _given]
    # By chance: other runs on this machine look for some too.
    while left:
        port = left.pop(secrets.randbelow(len(left)))
        if _is_free(port):
            _given.add(port)
            return port
    raise AssertionError(f"no port is free outside of {lowest} to {highest} ({_EPHEMERAL})")


def _is_free(port: int) -> bool:
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104  # nobody is let in
        try:
            with socket.socket(family) as one:
                one.bind((address, port))
        except OSError:
            if family == socket.AF_INET or socket.has_dualstack_ipv6():
                return False
    return True
