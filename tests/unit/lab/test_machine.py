from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kharden.lab import machine


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
@pytest.mark.parametrize("user", [0, 65534])
def test_only_our_own_processes_are_taken_for_a_node(user: int) -> None:
    """Anybody can call a process systemd-nspawn."""
    argv = ["systemd-nspawn", "-c", "read it", machine.directory_argument("no-such-lab", "cp1")]
    with subprocess.Popen(argv, executable="/bin/sh", stdin=subprocess.PIPE, user=user, cwd="/") as process:
        try:
            while b"nspawn" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                assert process.poll() is None
            found = machine.find_machine("no-such-lab", "cp1")
            assert (found is not None) is (user == 0)
        finally:
            process.kill()
