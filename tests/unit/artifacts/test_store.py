from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kharden.artifacts.store import DamagedError, Store, cache_root, digest_of
from kharden.errors import IntegrityError, MissingError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def put(store: Store, content: bytes, *, mode: int = 0o444) -> str:
    with store.work() as work:
        file = work / "file"
        file.write_bytes(content)
        return store.add(file, mode=mode)


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


def shrink(path: Path) -> None:
    overwrite(path, path.read_bytes()[:-1])


def flip(path: Path) -> None:
    """Same size and, as far as can be set by hand, the same times."""
    before = path.stat()
    overwrite(path, bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(path: Path) -> None:
    other = path.parent / hashlib.sha256(b"another").hexdigest()
    path.unlink()
    other.rename(path)


def link(path: Path) -> None:
    copy = path.parent / "copy"
    path.rename(copy)
    path.symlink_to(copy)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def test_an_object_is_handed_out_with_its_mode(store: Store) -> None:
    sha256 = put(store, b"content", mode=0o555)
    assert sha256 == hashlib.sha256(b"content").hexdigest()
    assert store.path(sha256).read_bytes() == b"content"
    assert store.path(sha256).stat().st_mode & 0o777 == 0o555


@pytest.mark.parametrize("damage", [shrink, flip, swap, link, folder])
@pytest.mark.parametrize("fresh", [True, False], ids=["another process", "same process"])
def test_a_damaged_object_is_removed_and_named(store: Store, damage: Callable[[Path], None], *, fresh: bool) -> None:
    sha256 = put(store, b"content")
    put(store, b"another")
    path = store.path(sha256)
    damage(path)
    reader = Store(store.root) if fresh else store
    with pytest.raises(DamagedError, match=sha256):
        reader.path(sha256)
    assert not os.path.lexists(path)
    with pytest.raises(MissingError, match=sha256):
        reader.path(sha256)
    assert put(store, b"content") == sha256
    assert reader.path(sha256).read_bytes() == b"content"


def test_verify_reads_even_what_was_read_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = put(store, b"content")
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return digest_of(path)

    monkeypatch.setattr("kharden.artifacts.store.digest_of", counted)
    store.path(sha256)
    assert read == []
    store.verify(sha256)
    assert len(read) == 1


def test_what_is_not_the_pinned_bytes_is_not_kept(store: Store) -> None:
    with store.work() as work:
        file = work / "etcd"
        file.write_bytes(b"other")
        with pytest.raises(IntegrityError, match=r"^etcd: .* not the pinned bytes"):
            store.add(file, expected="0" * 64)
        assert not file.exists()
    assert list((store.root / "objects" / "sha256").iterdir()) == []


@pytest.mark.parametrize("digest", ["", "..", "../../index.json", "A" * 64, "0" * 63])
def test_what_is_no_digest_never_becomes_a_path(store: Store, digest: str) -> None:
    store.record("builds", "key", "value")
    with pytest.raises(IntegrityError):
        store.verify(digest)
    assert store.recall("builds", "key") == "value"


@settings(max_examples=50)  # it writes to a disk
@given(content=st.binary(max_size=200), length=st.integers(0, 200))
def test_an_index_that_is_not_what_was_written_counts_as_empty(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, length: int
) -> None:
    store = Store(tmp_path_factory.mktemp("store") / "cache")
    sha256 = put(store, b"content")
    index = store.root / "index.json"
    whole = index.read_bytes()
    damaged = whole[:length] + content + whole[length + len(content) :]
    index.write_bytes(damaged)
    known = store.recall("intact", sha256)
    assert known is None or json.loads(damaged) == json.loads(whole)
    assert store.path(sha256).read_bytes() == b"content"


def test_records_of_two_stores_at_once_all_arrive(store: Store) -> None:
    def write(number: int) -> None:
        Store(store.root).record("builds", str(number), number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert [store.recall("builds", str(number)) for number in range(40)] == list(range(40))


def test_a_killed_process_leaves_nothing_half(store: Store) -> None:
    script = (
        "import sys, pathlib; from kharden.artifacts.store import Store\n"
        "with Store(pathlib.Path(sys.argv[1])).work() as work:\n"
        "    (work / 'half').write_text('x'); print('ready', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"ready\n"
        killed.kill()
        killed.wait()
    with store.work() as work:
        assert list(work.iterdir()) == []
        assert list(work.parent.iterdir()) == [work]
    assert not work.parent.exists()


def test_a_cache_in_which_others_may_write_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(RefusedError, match=r"mode 777.*KHARDEN_CACHE"):
        Store(root)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"KHARDEN_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/kharden"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/someone/.cache/kharden"),
        ({}, "/home/someone/.cache/kharden"),
    ],
)
def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(cache_root(environment)) == expected
