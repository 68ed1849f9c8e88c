from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from kharden.artifacts import fetch, lock, model
from kharden.artifacts.pin import Lines, pin
from kharden.artifacts.store import Store
from kharden.errors import InputError, IntegrityError, MissingError
from kharden.plan.model import ArtifactsPlan

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = lock.load()
PAUSE = next(program for program in WHOLE.programs if program.name == "pause")
VERSION = "1.0.0"
SMALL = replace(
    WHOLE,
    programs=(PAUSE,),
    images=tuple(image for image in WHOLE.images if image.version == PAUSE.version),
    releases=(lock.Pairing(VERSION, {"pause": PAUSE.version}, ("registry.k8s.io/pause:3.10.2",)),),
)


HERE = ArtifactsPlan(official=False, mirror="")


@dataclass
class Heard:
    """Remembers what a fetch told."""

    started: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def start(self, item: str) -> None:
        self.started.append(item)

    def advance(self, item: str, done: int, total: int) -> None:
        pass

    def done(self, item: str, seconds: float, cached: bool) -> None:  # noqa: FBT001 - as Progress
        assert seconds >= 0
        if not cached:
            self.made.append(item)


@pytest.fixture(autouse=True)
def _small_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release of pause and its image alone: real, and compiled in a moment."""
    monkeypatch.setattr(lock, "load", lambda: SMALL)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def run(store: Store) -> tuple[model.Artifacts, list[str]]:
    heard = Heard()
    artifacts = fetch.fetch(VERSION, "amd64", HERE, store=store, progress=heard)
    assert heard.started == ["pause 3.10.2", "registry.k8s.io/pause:3.10.2"]
    return artifacts, heard.made


@pytest.mark.programs
def test_a_second_fetch_makes_nothing_and_gives_the_same(store: Store) -> None:
    first, made = run(store)
    assert made == ["pause 3.10.2", "registry.k8s.io/pause:3.10.2"]
    program = first.programs["pause"]
    assert program == model.File("pause", "3.10.2", PAUSE.built["amd64"], program.size, official=False)
    assert store.path(program.sha256).stat().st_size == program.size
    (image,) = first.images
    assert image.programs == {"/pause": program.sha256}
    assert image.digest.startswith("sha256:")
    assert run(Store(store.root)) == (first, [])
    assert fetch.verify(VERSION, "amd64", HERE, store=store) == first


@pytest.mark.programs
@pytest.mark.parametrize("which", ["program", "archive"])
def test_a_damaged_file_is_named_and_made_anew(store: Store, which: str) -> None:
    first, _ = run(store)
    damaged = first.programs["pause"].sha256 if which == "program" else first.images[0].archive
    path = store.path(damaged)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])
    second, made = run(store)
    assert made == ["pause 3.10.2" if which == "program" else "registry.k8s.io/pause:3.10.2"]
    assert len(second.notes) == 1
    assert str(path) in second.notes[0]
    assert replace(second, notes=()) == first
    assert fetch.verify(VERSION, "amd64", HERE, store=store) == first


@pytest.mark.programs
def test_verify_names_all_that_is_damaged(store: Store) -> None:
    first, _ = run(store)
    for digest in (first.programs["pause"].sha256, first.images[0].archive):
        path = store.path(digest)
        path.chmod(0o600)
        path.write_bytes(b"swapped")
    with pytest.raises(IntegrityError, match=r"^pause 3\.10\.2: .*damaged.*`artifacts\.fetch`") as raised:
        fetch.verify(VERSION, "amd64", HERE, store=store)
    assert len(raised.value.details) == 1
    assert raised.value.details[0].startswith("registry.k8s.io/pause:3.10.2: ")


def test_verify_of_an_empty_cache_says_so(store: Store) -> None:
    with pytest.raises(IntegrityError, match=r"^pause 3\.10\.2: not fetched"):
        fetch.verify(VERSION, "amd64", HERE, store=store)


@pytest.mark.programs
def test_a_build_that_is_not_the_pinned_bytes_is_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run(store)  # also where an older pin had let it in
    other = replace(SMALL, programs=(replace(PAUSE, built={"amd64": "0" * 64}),))
    monkeypatch.setattr(lock, "load", lambda: other)
    with pytest.raises(IntegrityError, match=f"pause: sha256 {PAUSE.built['amd64']}, not the pinned bytes"):
        run(store)


@pytest.mark.programs
def test_a_lost_index_costs_time_and_nothing_else(store: Store) -> None:
    first, _ = run(store)
    (store.root / "index.json").write_bytes(b"\0" * 100)
    second, made = run(store)
    assert second == first
    assert made == ["pause 3.10.2", "registry.k8s.io/pause:3.10.2"]


@pytest.mark.programs
def test_two_processes_at_once_both_succeed_and_one_makes(store: Store) -> None:
    script = (
        "import dataclasses, pathlib, sys\n"
        "from kharden.artifacts import fetch, lock\n"
        "from kharden.artifacts.pin import Lines\n"
        "from kharden.artifacts.store import Store\n"
        "from kharden.plan.model import ArtifactsPlan\n"
        "here = ArtifactsPlan(official=False, mirror='')\n"
        "whole = lock.load(); pause = [p for p in whole.programs if p.name == 'pause']\n"
        "image = [i for i in whole.images if 'pause' in i.reference]\n"
        "pair = lock.Pairing('1.0.0', {'pause': pause[0].version}, (image[0].reference,))\n"
        "small = dataclasses.replace(whole, programs=tuple(pause), images=tuple(image), releases=(pair,))\n"
        "lock.load = lambda: small\n"
        "print(fetch.fetch('1.0.0', 'amd64', here, store=Store(pathlib.Path(sys.argv[1])), progress=Lines()))\n"
    )
    command = [sys.executable, "-c", script, str(store.root)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0][0] == said[1][0]
    assert run(store)[1] == []


def test_bad_input_costs_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    with pytest.raises(InputError, match=r"Kubernetes 1\.2\.3 is not in the lock"):
        fetch.fetch("1.2.3", "amd64", HERE, store=store, progress=heard)
    with pytest.raises(InputError, match="architecture 'mips': unknown: use one of amd64, arm64"):
        fetch.fetch(VERSION, "mips", HERE, store=store, progress=heard)
    unpinned = replace(SMALL, programs=(replace(PAUSE, built={}),))
    monkeypatch.setattr(lock, "load", lambda: unpinned)
    with pytest.raises(
        MissingError,
        match=r"Kubernetes 1\.0\.0 on amd64: the lock has no digest of our own build of pause: use another",
    ):
        fetch.fetch(VERSION, "amd64", HERE, store=store, progress=heard)
    assert heard == Heard()
    assert {path.name for path in store.root.iterdir()} == {"objects", "logs"}


@pytest.mark.programs
def test_pinning_writes_what_came_out_and_nothing_else(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.loads(lock.PATH.read_bytes())
    (row,) = (each for each in content["programs"] if (each["name"], each["version"]) == ("pause", PAUSE.version))
    row["built"]["amd64"] = "0" * 64
    path = tmp_path / "lock.json"
    path.write_text(json.dumps(content))
    before = lock.PATH.read_bytes()
    monkeypatch.setattr(lock, "PATH", path)
    pin(SMALL, VERSION, "amd64", store=store, progress=Lines())
    assert path.read_bytes() == before
