from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kharden.artifacts import lock, source, toolchain
from kharden.artifacts.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def pause(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real program, for this machine."""
    own = lock.load()
    program = next(each for each in own.programs if each.name == "pause")
    folder = tmp_path_factory.mktemp("pause")
    store = Store(folder / "cache")
    with store.work() as work:
        go = toolchain.find(own.toolchain, store, work)
        native = toolchain.HOSTS[os.uname().machine]
        recipe = source.Recipe(program, own.module(program), native, own.toolchain.version)
        (work / "build").mkdir()
        return source.build(recipe, go=go, work=work / "build", log=folder / "log").rename(folder / "pause")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def catches(pid: int, number: int) -> bool:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


@contextmanager
def running(*command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_waits_and_leaves_when_told(pause: Path, number: signal.Signals) -> None:
    # Go catches every signal from its start on, but an ignored SIGINT only once the program asks for it, here last.
    with running("sh", "-c", 'trap "" INT; exec "$1"', "sh", pause) as process:
        until(lambda: catches(process.pid, signal.SIGINT))
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(120) == 0


@pytest.mark.lab
def test_as_the_first_process_it_reaps_orphans(pause: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare for a PID namespace")
    # One child ends before pause can hear of it, the other one while pause waits.
    script = 'sh -c : & mkfifo "$2/fifo"; sh -c "read line < $2/fifo" & exec "$1"'
    command = ("unshare", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", pause, pause.parent)
    with running(*command) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: bool(children.read_text()))
        first = int(children.read_text())
        until(lambda: Path(f"/proc/{first}/comm").read_text() == "pause\n" and catches(first, signal.SIGCHLD))
        orphans = Path(f"/proc/{first}/task/{first}/children")
        until(lambda: len(orphans.read_text().split()) == 1)
        (pause.parent / "fifo").write_text("\n")
        until(lambda: orphans.read_text() == "")
