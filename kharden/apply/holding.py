"""Holds a cluster's lock on one control plane. It is sent there for Python alone, so it imports nothing of ours.

Standard input begins with a line of JSON: `path`, `mode` and `holder`. "take" takes a free lock, "break" any, "look"
none. A line of JSON on standard output tells its `state` and its `holder` before that:

    free   nobody has it
    taken  this process has it now
    held   the process of `holder` has it
    left   `holder` had it, and was cut off before it gave it back

What was taken is held until standard input ends: the kernel lets go of it with this process, which lives no longer than
the connection. Only the word "end" says that the run came to its end; without it what it wrote here stays.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import sys
import time

# What fcntl(2) is asked with and answers in, F_GETLK; the process that holds the lock comes last.
_FLOCK = struct.Struct("hhqqi0q")
_SECONDS = 10.0


def main() -> None:
    """The program."""
    asked = json.loads(sys.stdin.readline())
    descriptor = os.open(asked["path"], os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    locked = _lock(descriptor) or (asked["mode"] == "break" and _wrest(descriptor))
    before = _holder(descriptor)
    if not locked:
        _tell("held", before)
    elif asked["mode"] == "look" or (before is not None and asked["mode"] == "take"):
        _tell("free" if before is None else "left", before)
    else:
        _write(descriptor, json.dumps(asked["holder"]).encode())
        _tell("taken", before)
        if sys.stdin.readline() == "end\n":
            _write(descriptor, b"")


def _lock(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # fcntl(2) knows both
        return False
    return True


def _wrest(descriptor: int) -> bool:
    """End the process that holds it; its connection ends with it, which tells its run."""
    limit = time.monotonic() + _SECONDS
    while not _lock(descriptor):
        if time.monotonic() > limit:
            return False
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, *_, process = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        if kind != fcntl.F_UNLCK and process > 0:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.05)  # until the kernel has let go of it
    return True


def _holder(descriptor: int) -> object:
    try:
        return json.loads(os.pread(descriptor, 1 << 16, 0) or b"null")
    except ValueError:
        return {}


def _write(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)


def _tell(state: str, holder: object) -> None:
    sys.stdout.write(json.dumps({"state": state, "holder": holder}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
