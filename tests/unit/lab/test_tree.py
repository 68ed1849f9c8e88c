from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kharden.lab import tree

if TYPE_CHECKING:
    from pathlib import Path


class Recorder:
    def __init__(self) -> None:
        self.done_items: list[tuple[str, bool]] = []

    def start(self, item: str) -> None:
        pass

    def done(self, item: str, seconds: float, cached: bool) -> None:  # noqa: FBT001  # as the protocol has it
        assert seconds >= 0
        self.done_items.append((item, cached))


class Debian:
    """In place of debootstrap and the network: a tree of a few files."""

    def __init__(self) -> None:
        self.runs = 0
        self.fail = False

    def __call__(self, suite: str, root: Path, log: Path) -> None:
        self.runs += 1
        (root / "etc/ssh").mkdir(parents=True)
        (root / "etc/ssh/ssh_host_rsa_key").write_text("shared by every node if it stayed")
        (root / "etc/os-release").write_text(suite)
        (root / "bin").symlink_to("usr/bin")
        if self.fail:
            log.write_text("E: cut off")
            raise KeyboardInterrupt


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Debian:
    monkeypatch.setenv("KHARDEN_CACHE", str(tmp_path / "cache"))
    made = Debian()
    monkeypatch.setattr(tree, "_debootstrap", made)
    return made


def ensure(tmp_path: Path) -> tuple[Path, Recorder]:
    recorder = Recorder()
    return tree.ensure_tree("trixie", tmp_path / "log", recorder).root, recorder


def test_a_tree_is_made_once(debian: Debian, tmp_path: Path) -> None:
    first, made = ensure(tmp_path)
    second, found = ensure(tmp_path)
    assert first == second
    assert debian.runs == 1
    assert made.done_items == [("base tree trixie", False)]
    assert found.done_items == [("base tree trixie", True)]


def test_host_keys_never_stay_in_a_tree(debian: Debian, tmp_path: Path) -> None:
    root, _ = ensure(tmp_path)
    assert debian.runs == 1
    assert list((root / "etc/ssh").iterdir()) == []
    assert (root / "etc/systemd/system/multi-user.target.wants/kharden-lab-network.service").is_file()


def _truncate(root: Path) -> None:
    path = root / "etc/os-release"
    before = path.stat().st_mtime_ns
    path.write_text("")
    os.utime(path, ns=(before, before))


def _overwrite(root: Path) -> None:
    (root / "etc/os-release").write_text("TRIXIE")


def _rot(root: Path) -> None:
    path = root / "etc/os-release"
    before = path.stat()
    path.write_text("tRixie")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _remove(root: Path) -> None:
    (root / "etc/os-release").unlink()


def _add(root: Path) -> None:
    (root / "etc/extra").write_text("")


def _open(root: Path) -> None:
    (root / "etc").chmod(0o777)


def _redirect(root: Path) -> None:
    (root / "bin").unlink()
    (root / "bin").symlink_to("tmp")


def _lose_record(root: Path) -> None:
    (root.parent / "tree.json").unlink()


def _garble_record(root: Path) -> None:
    (root.parent / "tree.json").write_text('["x"')


DAMAGES = [_truncate, _rot, _overwrite, _remove, _add, _open, _redirect, _lose_record, _garble_record]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: str(damage.__name__))
def test_a_damaged_tree_is_found_and_made_anew(damage: object, debian: Debian, tmp_path: Path) -> None:
    root, _ = ensure(tmp_path)
    assert callable(damage)
    damage(root)
    again, said = ensure(tmp_path)
    assert debian.runs == 2
    assert (again / "etc/os-release").read_text() == "trixie"
    assert not (again / "etc/extra").exists()
    assert said.done_items == [("base tree trixie (the cached one is damaged: made anew)", False)]


def test_under_nodes_that_run_contents_are_not_read_again(
    debian: Debian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = ensure(tmp_path)
    monkeypatch.setattr(tree, "_is_used", lambda folder: folder == root.parent)
    _rot(root)
    ensure(tmp_path)
    assert debian.runs == 1


def test_a_half_built_tree_is_never_used(debian: Debian, tmp_path: Path) -> None:
    debian.fail = True
    with pytest.raises(KeyboardInterrupt):
        ensure(tmp_path)
    debian.fail = False
    ensure(tmp_path)
    assert debian.runs == 2
    assert len([path for path in (tmp_path / "cache/trees").iterdir() if path.is_dir()]) == 1


def test_another_recipe_is_another_tree_and_the_old_one_goes(
    debian: Debian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = ensure(tmp_path)
    monkeypatch.setattr("kharden.lab.recipe.PACKAGES", ("systemd",))
    new, _ = ensure(tmp_path)
    assert old != new
    assert debian.runs == 2
    assert not old.exists()


def test_suites_have_keys_of_their_own() -> None:
    assert tree.tree_key("trixie") != tree.tree_key("bookworm")
