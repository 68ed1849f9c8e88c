"""A cluster of its own for all tests of faults: brought up once under a watch, taken down in the end."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import pytest

from tests.e2e.sites import described

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    Completed = subprocess.CompletedProcess[str]

# It waits until a control plane is given up: minutes, so only `invoke test --all` does.
collect_ignore = [] if os.environ.get("KHARDEN_ALL") == "1" else ["test_misled.py"]

CLUSTER = "faults"
NODES = ("cp1", "w1")
BEHIND_A_JUMP_HOST = """\
      ssh: {user: admin, port: 2222, jumpHost: bastion}
  jumpHosts:
    - {name: bastion, address: 10.82.0.5, user: jump}
"""
ARTIFACT_LIMIT = 16 << 20


class Run(Protocol):
    """Runs `kharden` to its end and insists on its exit status."""

    def __call__(self, *arguments: str, status: int = 0, text: str = "") -> Completed: ...


class Start(Protocol):
    """Starts `kharden` in a session of its own, as a terminal would."""

    def __call__(self, *arguments: str, output: IO[str]) -> subprocess.Popen[str]: ...


class Node(Protocol):
    """Runs a script as root in a node."""

    def __call__(self, name: str, script: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Site:
    """A folder as a user of the program has it.

    Attributes:
        memory: a folder on tmpfs that is this site's alone; what kharden keeps in memory for a run lies there.
    """

    root: Path
    memory: Path
    cluster: str = CLUSTER

    @property
    def environment(self) -> dict[str, str]:
        """What `kharden` is started with."""
        return os.environ | {
            "KHARDEN_CLUSTER": CLUSTER,
            "KHARDEN_IDENTITY": f"{self.root}/identity/",
            "XDG_RUNTIME_DIR": str(self.memory),
            "COLUMNS": "160",
        }

    @property
    def command(self) -> Path:
        """The program of the interpreter that runs these tests."""
        return Path(sys.executable).with_name("kharden")


class Watch:
    """Looks at all processes of this machine and its nodes again and again, and at files that lie in memory for a run.

    Attributes:
        texts: every command line and environment that was seen, with the name of what had it.
        files: content of every file that was seen in memory, by path; of one that changes the last.
    """

    def __init__(self, memory: Path) -> None:
        self.texts: dict[bytes, str] = {}
        self.files: dict[Path, bytes] = {}
        self._memory = memory
        self._known: dict[Path, bytes] = {}
        self._stamps: dict[Path, tuple[int, int]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        # A process lives a hundredth of a second at the least; more often than that would slow down what is watched.
        while not self._end.wait(0.02):
            self._look_at_processes()
            self._look_at_files()

    def _look_at_processes(self) -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                arguments = (folder / "cmdline").read_bytes()
                if self._known.get(folder) != arguments:
                    self._known[folder] = arguments
                    self.texts[arguments] = f"arguments of process {folder.name}"
                    self.texts[(folder / "environ").read_bytes()] = f"environment of process {folder.name}"

    def _look_at_files(self) -> None:
        # Unlike Path.rglob, os.walk goes on where a folder has gone meanwhile.
        paths = (Path(folder, name) for folder, _, names in os.walk(self._memory) for name in names)
        for path in paths:
            with suppress(OSError):
                found = path.stat()
                stamp = (found.st_mtime_ns, found.st_size)
                if path.is_file() and self._stamps.get(path) != stamp and found.st_size < ARTIFACT_LIMIT:
                    self.files[path] = path.read_bytes()
                    self._stamps[path] = stamp


class NewWatch(Protocol):
    """Makes a watch over this site."""

    def __call__(self) -> Watch: ...


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How the cluster came up.

    Attributes:
        began: seconds since the epoch.
        output: standard output and standard error of render, apply and verify.
        report: what verify found.
    """

    began: float
    output: str
    report: dict[str, Any]
    watch: Watch


@pytest.fixture(scope="session")
def alone() -> Iterator[None]:
    """This machine has one cluster of that name: another run of these tests would lose its nodes to this one."""
    path = Path("/run/lock/kharden-tests-faults")
    with path.open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.fail(f"{path}: another run of these tests is at work on this machine: wait until it has ended")
        yield


@pytest.fixture(scope="session")
def site(alone: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    assert alone is None
    root = tmp_path_factory.mktemp("site")
    text = described(CLUSTER, "10.82.0").replace("      role: worker\n", f"      role: worker\n{BEHIND_A_JUMP_HOST}")
    folder = root / "inventories" / CLUSTER
    folder.mkdir(parents=True)
    (folder / "cluster.yaml").write_text(text, encoding="utf-8")
    (root / "identity").mkdir(mode=0o700)
    with tempfile.TemporaryDirectory(prefix="faults-", dir="/dev/shm") as memory:
        yield Site(root, Path(memory))


@pytest.fixture(scope="session")
def kharden(site: Site) -> Run:
    def run(*arguments: str, status: int = 0, text: str = "") -> Completed:
        done = subprocess.run(
            [site.command, *arguments],
            cwd=site.root,
            env=site.environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        said = f"{done.stdout[-4000:]}\n{done.stderr}"
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{said}"
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def start(site: Site) -> Start:
    def begin(*arguments: str, output: IO[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [site.command, *arguments],
            cwd=site.root,
            env=site.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return begin


@pytest.fixture(scope="session")
def new_watch(site: Site) -> NewWatch:
    return lambda: Watch(site.memory)


@pytest.fixture(scope="session")
def bootstrap(kharden: Run, new_watch: NewWatch) -> Iterator[Bootstrap]:
    kharden("lab.down")  # A run that was killed leaves its nodes' disks behind, with a cluster that is not this one.
    began = time.time()
    try:
        with new_watch() as watch:
            done = [kharden("render"), kharden("apply", "--yes"), kharden("verify", "--json")]
        yield Bootstrap(began, "".join(one.stdout + one.stderr for one in done), json.loads(done[-1].stdout), watch)
    finally:
        kharden("lab.down")


@pytest.fixture(scope="session")
def node(kharden: Run, bootstrap: Bootstrap) -> Node:
    assert bootstrap.output

    def run(name: str, script: str) -> str:
        # The script goes through standard input: a command line is no place for what tests plant.
        return kharden("lab.shell", name, "--command", "bash -eu", text=script).stdout

    return run
