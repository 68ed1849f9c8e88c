"""Attempts to connect: from a machine itself, and from within the network of one of its processes."""

from __future__ import annotations

import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

# A SYN that is dropped is sent once more after a second (RFC 6298, 2.1): both have their chance.
_SECONDS = 2.5
_AT_ONCE = 128
_NETWORK_NAMESPACE = 0x40000000  # sched.h, CLONE_NEWNET


def attempts(asked: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Connect to each host and port, side by side."""
    if not asked:
        return {}
    with ThreadPoolExecutor(min(_AT_ONCE, len(asked))) as pool:
        return dict(zip(asked, pool.map(lambda each: attempt(**each), asked.values()), strict=True))


def attempt(*, host: str, port: int) -> dict[str, str]:
    """Connect once by TCP: how it went, and from which address."""
    outcome = "connected"
    try:
        with socket.create_connection((host, port), _SECONDS):
            pass
    except ConnectionRefusedError:
        outcome = "connection refused"
    except TimeoutError:
        outcome = "no answer"
    except OSError:  # no route, or a router's word that there is no way
        outcome = "unreachable"
    return {"outcome": outcome, "from": _source(host, port)}


def _source(host: str, port: int) -> str:
    """The own address on the way there; nothing is sent."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
        try:
            datagrams.connect((host, port))
            return str(datagrams.getsockname()[0])
        except OSError:
            return ""


def attempts_within(process: Path, asked: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """The same from within the network of a process, whose folder in /proc it is."""
    namespace = os.open(process / "ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # setns(2) moves the calling thread alone, and these threads do nothing else.
        with ThreadPoolExecutor(min(_AT_ONCE, len(asked)), initializer=_enter, initargs=(namespace,)) as pool:
            return dict(zip(asked, pool.map(lambda each: attempt(**each), asked.values()), strict=True))
    finally:
        os.close(namespace)


def _enter(namespace: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, _NETWORK_NAMESPACE):
        raise OSError(ctypes.get_errno(), "setns")
