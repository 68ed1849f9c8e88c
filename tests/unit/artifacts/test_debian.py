from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kharden.artifacts import debian, elf, lock, toolchain
from kharden.artifacts.lock import DebianFiles
from kharden.artifacts.packages import Packages
from kharden.artifacts.store import Store
from kharden.errors import IntegrityError
from kharden.plan.model import ArtifactsPlan

if TYPE_CHECKING:
    from kharden.artifacts.forms import Architecture

NATIVE = toolchain.HOSTS.get(os.uname().machine, "amd64")
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb: not a Debian machine")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def package(name: str, tree: Path, store: Store) -> debian.Package:
    """A real .deb of `tree` in `store`."""
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1:2-3\nArchitecture: all\nMaintainer: Nobody <n@example.test>\nDescription: x\n"
    )
    with store.work() as work:
        file = work / f"{name}.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, file], check=True, capture_output=True)
        return debian.Package(name, "1:2-3", store.add(file))


def real_program(tree: Path, libraries: Path) -> str:
    """This machine's `true` in `tree`, what it loads in `libraries`, old-style: below /lib, through links."""
    source = Path(shutil.which("true") or "").resolve()
    (tree / "bin").mkdir(parents=True)
    shutil.copy(source, tree / "bin/true")
    with source.open("rb") as stream:
        described = elf.describe(stream, "true")
    loader = libraries / described.interpreter.lstrip("/")
    loader.parent.mkdir(parents=True)
    shutil.copy(described.interpreter, loader.with_name("loader.so"))
    loader.symlink_to("loader.so")
    for name in described.needed:
        folder = libraries / debian.LIBRARIES[NATIVE].removeprefix("/usr/")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(debian.LIBRARIES[NATIVE]) / name, folder / f"{name}.real")
        (folder / name).symlink_to(f"{name}.real")
    return described.interpreter


@needs_dpkg
def test_a_program_comes_with_what_it_loads_and_nothing_else(tmp_path: Path, store: Store) -> None:
    loader = real_program(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a/etc").mkdir()
    (tmp_path / "a/etc/wanted").write_text("wanted")
    (tmp_path / "a/etc/unwanted").write_text("unwanted")
    found = (package("coreutils", tmp_path / "a", store), package("libc6", tmp_path / "b", store))
    wanted = DebianFiles(("coreutils",), ("/bin/true", "/etc/wanted"))
    files = debian.files(wanted, NATIVE, found, store)
    assert {path for path in files if ".so" not in path} == {"/usr/bin/true", "/etc/wanted"}
    assert debian.merged(loader) in files
    assert f"{debian.LIBRARIES[NATIVE]}/libc.so.6" in files
    assert files["/etc/wanted"] == (b"wanted", 0o644)
    assert files["/usr/bin/true"][1] == 0o755
    for path, (content, _) in files.items():
        if content.startswith(b"\x7fELF"):
            assert elf.describe(io.BytesIO(content), path).architecture == NATIVE
    assert set(debian.links(list(files))) >= {"/bin", "/lib"}


@needs_dpkg
def test_a_library_that_no_package_has_is_named(tmp_path: Path, store: Store) -> None:
    real_program(tmp_path / "a", tmp_path / "b")
    found = (package("coreutils", tmp_path / "a", store),)
    with pytest.raises(IntegrityError, match=r"\.so.*: in none of the Debian packages"):
        debian.files(DebianFiles(("coreutils",), ("/bin/true",)), NATIVE, found, store)


@needs_dpkg
def test_a_program_for_another_machine_is_found(tmp_path: Path, store: Store) -> None:
    real_program(tmp_path / "a", tmp_path / "b")
    found = (package("coreutils", tmp_path / "a", store),)
    other: Architecture = "arm64" if NATIVE == "amd64" else "amd64"
    with pytest.raises(IntegrityError, match=f"/usr/bin/true: a Debian package for {NATIVE}, not {other}"):
        debian.files(DebianFiles(("coreutils",), ("/bin/true",)), other, found, store)


@needs_dpkg
def test_links_in_a_circle_end(tmp_path: Path, store: Store) -> None:
    (tmp_path / "a/etc").mkdir(parents=True)
    (tmp_path / "a/etc/one").symlink_to("two")
    (tmp_path / "a/etc/two").symlink_to("/etc/one")
    found = (package("circle", tmp_path / "a", store),)
    with pytest.raises(IntegrityError, match="/etc/one: in none"):
        debian.files(DebianFiles(("circle",), ("/etc/one",)), NATIVE, found, store)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("./lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("/lib64/ld-linux-x86-64.so.2", "/usr/lib64/ld-linux-x86-64.so.2"),
        ("./usr/sbin/nft", "/usr/sbin/nft"),
        ("./etc/protocols", "/etc/protocols"),
        ("/library/x", "/library/x"),
        ("./", "/"),
        ("../../etc/x", "/etc/x"),
    ],
)
def test_paths_below_a_merged_usr(path: str, expected: str) -> None:
    assert debian.merged(path) == expected


@given(st.text("./abinlib64s", max_size=30))
def test_merging_settles_and_never_leaves_the_root(path: str) -> None:
    once = debian.merged(path)
    assert debian.merged(once) == once
    assert once.startswith("/")
    assert ".." not in once.split("/")


@pytest.mark.programs
def test_the_pinned_packages_have_what_kube_proxy_needs(store: Store, tmp_path: Path) -> None:
    """Or, once Debian's mirror has newer ones, those."""
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get: not a Debian machine")
    own = lock.load()
    wanted = next(image.debian for image in own.images if image.debian)
    here = ArtifactsPlan(official=False, mirror="", other_packages=True)
    found = Packages(own.debian, NATIVE, here, store).obtain(wanted.packages, tmp_path)
    assert {"conntrack", "libc6", "netbase", "nftables"} <= {package.name for package in found}
    files = debian.files(wanted, NATIVE, found, store)
    assert set(wanted.files) <= set(files)
    assert b"\ntcp\t6\t" in files["/etc/protocols"][0]
    assert not [path for path in files if path.startswith("/usr/share")]
