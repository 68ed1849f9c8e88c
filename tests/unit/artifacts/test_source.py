from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kharden import resources
from kharden.artifacts import lock, source, toolchain
from kharden.artifacts.store import Store, digest_of
from kharden.errors import IntegrityError, MissingError

LOCK = lock.load()
PAUSE = next(program for program in LOCK.programs if program.name == "pause")
RECIPE = source.Recipe(PAUSE, LOCK.module(PAUSE), "amd64", LOCK.toolchain.version)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of pause's module that a test may change."""
    shutil.copytree(RECIPE.module.folder, tmp_path / "tools/pause")
    monkeypatch.setattr(resources, "folder", lambda name: tmp_path / name)
    return tmp_path / "tools/pause"


def compiled(recipe: source.Recipe, folder: Path, environment: dict[str, str] | None = None) -> Path:
    store = Store(folder / "cache")
    with store.work() as work:
        go = toolchain.find(LOCK.toolchain, store, work, {**os.environ, **(environment or {})})
        (work / "build").mkdir()
        made = source.build(recipe, go=go, work=work / "build", log=store.logs / "build.log")
        return made.rename(folder / made.name)


@pytest.mark.programs
def test_pause_is_the_pinned_bytes_again_and_again(tmp_path: Path) -> None:
    for name, environment in (("cold", {"GOCACHE": str(tmp_path / "gocache")}), ("warm", {})):
        (tmp_path / name).mkdir()
        assert digest_of(compiled(RECIPE, tmp_path / name, environment)) == PAUSE.built["amd64"]


@pytest.mark.programs
def test_a_program_for_another_machine_is_found(tmp_path: Path) -> None:
    made = compiled(replace(RECIPE, architecture="arm64"), tmp_path)
    source.check(made, "pause", "arm64")
    with pytest.raises(IntegrityError, match="pause: built for arm64, not amd64"):
        source.check(made, "pause", "amd64")


@pytest.mark.programs
def test_a_failed_build_says_why_in_one_line_and_keeps_its_log(tmp_path: Path, tools: Path) -> None:
    (tools / "main.go").write_text("package main\n\nfunc main() { nothing() }\n")
    with pytest.raises(
        source.BuildError, match=r"^pause 3\.10\.2: \./main\.go:3:15: undefined: nothing: see "
    ) as raised:
        compiled(RECIPE, tmp_path)
    log = tmp_path / "cache/logs/build.log"
    assert str(log) in str(raised.value)
    assert "undefined: nothing" in log.read_text()
    assert list((tmp_path / "cache").glob("work*")) == []


def test_a_program_that_is_not_static_is_refused() -> None:
    with Path(sys.executable).resolve().open("rb") as stream:
        if stream.read(4) != b"\x7fELF":
            pytest.skip("this Python is not an ELF program")
    native = toolchain.HOSTS[os.uname().machine]
    with pytest.raises(IntegrityError, match="python: not static, wants /"):
        source.check(Path(sys.executable), "python", native)


@pytest.mark.parametrize(
    "changed",
    [
        replace(RECIPE, architecture="arm64"),
        replace(RECIPE, toolchain="go1.26.9"),
        replace(RECIPE, program=replace(PAUSE, package="kharden.dev/tools/other")),
        replace(RECIPE, module=replace(RECIPE.module, variables={"main.version": "1"})),
    ],
    ids=["architecture", "toolchain", "package", "variables"],
)
def test_what_decides_the_bytes_decides_the_key(changed: source.Recipe) -> None:
    assert changed.key != RECIPE.key


def test_a_changed_file_of_the_module_changes_the_key(tools: Path) -> None:
    keys = {RECIPE.key}
    for name in ("main.go", "go.mod"):
        with (tools / name).open("a") as stream:
            stream.write("// more\n")
        keys.add(RECIPE.key)
    (tools / "go.sum").touch()
    keys.add(RECIPE.key)
    assert len(keys) == 4


def test_what_does_not_decide_the_bytes_leaves_the_key() -> None:
    pinned = replace(PAUSE, built={"amd64": "0" * 64}, release={})
    assert replace(RECIPE, program=pinned).key == RECIPE.key


def test_a_missing_module_is_named(tools: Path) -> None:
    shutil.rmtree(tools)
    with pytest.raises(MissingError, match="tools/pause: no Go module"):
        _ = RECIPE.key


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", "go build failed and said nothing"),
        ("go: downloading a v1\n", "go build failed and said nothing"),
        ("# a/b\nx.go:1:2: undefined: y\ntoo many errors\n", "x.go:1:2: undefined: y"),
        ("go: a@v1: checksum mismatch\ngo: downloading b v2\n", "go: a@v1: checksum mismatch"),
        ("\xff" * 1000, "\ufffd" * 300),
    ],
)  # fmt: skip
def test_the_reason_is_the_last_line_that_gives_one(tmp_path: Path, log: str, expected: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(log.encode("latin-1"))
    assert source.reason(path) == expected
