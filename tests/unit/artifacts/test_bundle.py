"""A mirror made from the cache is one that a cache can be filled from, and a rebuild gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from kharden.artifacts import bundle, fetch, lock, source
from kharden.artifacts.rebuild import rebuild
from kharden.artifacts.store import Store, cache_root, digest_of
from kharden.errors import InputError, IntegrityError, MissingError, RefusedError
from kharden.plan.model import ArtifactsPlan

from .test_published import GOOD, KUBELET, PLUGINS, VERSION, Heard, locked, program

WHOLE = lock.load()
OFFICIAL = ArtifactsPlan(official=True, mirror="")
LIST = f"kharden/{VERSION}-amd64-official.json"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A cache that a folder of published files has filled; its lock names nothing else."""
    own = locked(GOOD)
    monkeypatch.setattr(lock, "load", lambda: own)
    for place, content in GOOD.items():
        (tmp_path / "given" / place).parent.mkdir(parents=True)
        (tmp_path / "given" / place).write_bytes(content)
    filled = Store(tmp_path / "cache")
    origin = replace(OFFICIAL, mirror=str(tmp_path / "given"))
    fetch.fetch(VERSION, "amd64", origin, store=filled, progress=Heard())
    return filled


def test_a_bundle_fills_another_cache(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "mirror"
    made = bundle.write(VERSION, ("amd64",), OFFICIAL, store=store, target=target)
    assert {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()} == {*GOOD, LIST}
    told = json.loads((target / LIST).read_bytes())
    assert {row["path"]: row["sha256"] for row in told["files"]} == {
        place: hashlib.sha256(content).hexdigest() for place, content in GOOD.items()
    }
    assert [file.size for file in made.files] == [row["size"] for row in told["files"]]
    other = Store(tmp_path / "other")
    origin = replace(OFFICIAL, mirror=str(target))
    found = fetch.fetch(VERSION, "amd64", origin, store=other, progress=Heard())
    assert found == fetch.fetch(VERSION, "amd64", OFFICIAL, store=store, progress=Heard())
    # Whoever changes a mirror is found out, whatever its own list says.
    (target / KUBELET).write_bytes(program("another"))
    with pytest.raises(IntegrityError, match=rf"^{target}/{KUBELET}: .*not the lock's"):
        fetch.fetch(VERSION, "amd64", origin, store=Store(tmp_path / "third"), progress=Heard())
    assert (target / KUBELET).exists(), "what lies in a mirror is its owner's"


def test_the_same_bundle_again_and_as_a_tar_file(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "mirror.tar"
    bundle.write(VERSION, ("amd64",), OFFICIAL, store=store, target=target)
    with tarfile.open(target) as archive:
        assert set(archive.getnames()) == {*GOOD, LIST}
        stream = archive.extractfile(PLUGINS)
        assert stream
        assert stream.read() == GOOD[PLUGINS]
    first = target.read_bytes()
    with pytest.raises(RefusedError, match="is there already"):
        bundle.write(VERSION, ("amd64",), OFFICIAL, store=store, target=target)
    target.unlink()
    bundle.write(VERSION, ("amd64",), OFFICIAL, store=store, target=target)
    assert target.read_bytes() == first


def test_a_bundle_of_half_a_cache_is_not_made(store: Store, tmp_path: Path) -> None:
    store.discard(hashlib.sha256(GOOD[PLUGINS]).hexdigest())
    with pytest.raises(MissingError, match=r"bridge 1\.9\.1: not in the cache, or not whole: run artifacts\.fetch"):
        bundle.write(VERSION, ("amd64",), OFFICIAL, store=store, target=tmp_path / "mirror")
    assert not (tmp_path / "mirror").exists()
    (tmp_path / "file").touch()
    with pytest.raises((RefusedError, MissingError)):
        bundle.write(VERSION, ("amd64",), OFFICIAL, store=store, target=tmp_path / "file")


@pytest.mark.programs
def test_two_programs_built_again_are_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    class Folder(tempfile.TemporaryDirectory[str]):
        """Is remembered: others may build in this cache at the same time."""

        def __enter__(self) -> str:
            made.append(Path(self.name))
            return super().__enter__()

    monkeypatch.setattr(tempfile, "TemporaryDirectory", Folder)
    release = WHOLE.kubernetes(VERSION)
    heard = Heard()
    store = Store(cache_root())
    done = rebuild(release, ["pause", "loopback", "pause"], "amd64", store=store, progress=heard)
    assert [(each.name, each.sha256) for each in done] == [
        (name, release.program(name).built["amd64"]) for name in ("pause", "loopback")
    ]
    assert [folder.parent for folder in made] == [store.root]
    assert not made[0].exists()


@pytest.mark.programs
def test_other_bytes_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "pause"
    other.write_bytes(b"other bytes")
    monkeypatch.setattr(source, "build", lambda *_, **__: other)
    release = WHOLE.kubernetes(VERSION)
    found, wanted = digest_of(other), release.program("pause").built["amd64"]
    with pytest.raises(
        IntegrityError, match=rf"pause 3\.10\.2: built again it has sha256 {found}, the lock says {wanted}"
    ):
        rebuild(release, ["pause"], "amd64", store=Store(cache_root()), progress=Heard())


def test_what_can_not_be_rebuilt_is_said(tmp_path: Path) -> None:
    release = WHOLE.kubernetes(VERSION)
    store = Store(tmp_path / "cache")
    with pytest.raises(InputError, match=r"^'runc': no program of a cluster: name one of kubeadm, "):
        rebuild(release, ["runc"], "amd64", store=store, progress=Heard())
    with pytest.raises(InputError, match="pause: the lock has no digest of our build for arm64"):
        rebuild(release, ["pause"], "arm64", store=store, progress=Heard())
