"""Debian packages are the pinned ones, or said to be others. Debian's archive is a folder here, and apt is real."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kharden.artifacts import apt, bundle, fetch, lock
from kharden.artifacts.debian import Package
from kharden.artifacts.lock import DebianFiles, DebianPackage, DebianPins
from kharden.artifacts.packages import AbsentPackageError, Packages
from kharden.artifacts.pin import pin_packages
from kharden.artifacts.store import Store
from kharden.errors import IntegrityError, MissingError
from kharden.plan.model import ArtifactsPlan

from .test_fetch import SMALL, VERSION, Heard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LAB = ArtifactsPlan(official=False, mirror="", other_packages=True)
REAL = ArtifactsPlan(official=False, mirror="")
TAKEN = "20260101T000000Z"
NAMES = ("one", "two")
needs_apt = pytest.mark.skipif(not Path(apt.HELPER).exists(), reason="no apt-helper: not a Debian machine")


def deb(folder: Path, name: str, version: str) -> Path:
    """A real package with one file."""
    tree = folder / f"tree-{name}-{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <n@example.test>\nDescription: x\n"
    )
    (tree / "etc").mkdir()
    (tree / "etc" / name).write_text(f"{name} {version}\n")
    file = folder / f"{name}_{version}_all.deb"
    command = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(file)]
    # Its times are then the same each time, and so are its bytes.
    subprocess.run(command, env={**os.environ, "SOURCE_DATE_EPOCH": "0"}, check=True, capture_output=True)
    return file


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Debian's archive, with two packages; readable for the user as whom apt fetches."""
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)
    folder = tmp_path / "debian/pool/main"
    folder.mkdir(parents=True)
    for name in NAMES:
        deb(folder, name, "1")
    monkeypatch.setenv("KHARDEN_DEBIAN_MIRROR", f"file:{tmp_path}/debian")
    return folder


@pytest.fixture
def pins(pool: Path) -> DebianPins:
    packages = []
    for name in NAMES:
        content = (pool / f"{name}_1_all.deb").read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        packages.append(DebianPackage(name, "1", f"pool/main/{name}_1_all.deb", sha256, len(content)))
    return DebianPins("trixie", TAKEN, {"amd64": tuple(packages)})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def _other_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What apt would find today: newer versions."""

    @contextmanager
    def resolved(names: Sequence[str], architecture: str, **_: object) -> Iterator[tuple[apt.Resolved, ...]]:
        assert architecture == "amd64"
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            yield tuple(apt.Resolved(name, "2", "", deb(Path(folder), name, "2")) for name in names)

    monkeypatch.setattr(apt, "resolved", resolved)


def expected(pins: DebianPins) -> tuple[Package, ...]:
    return tuple(Package(each.name, each.version, each.sha256) for each in pins.packages["amd64"])


@needs_apt
def test_pinned_packages_come_from_debians_mirror_and_stay_in_the_cache(
    pins: DebianPins, pool: Path, store: Store, tmp_path: Path
) -> None:
    packages = Packages(pins, "amd64", REAL, store)
    assert packages.held() == ()
    assert packages.obtain(NAMES, tmp_path) == expected(pins)
    shutil.rmtree(pool)
    assert packages.held() == packages.obtain(NAMES, tmp_path) == expected(pins)
    assert packages.notes(packages.held()) == ()


@needs_apt
@pytest.mark.usefixtures("_other_debian")
@pytest.mark.parametrize("fault", ["gone", "another", "larger"])
def test_a_real_cluster_refuses_what_can_not_be_had(
    fault: str, pins: DebianPins, pool: Path, store: Store, tmp_path: Path
) -> None:
    file = pool / "two_1_all.deb"
    if fault == "gone":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content + b"x" if fault == "larger" else bytes([content[0] ^ 1]) + content[1:])
    snapshot = f"https://snapshot.debian.org/archive/debian/{TAKEN}"
    with pytest.raises(
        AbsentPackageError,
        match=rf"pool/main/two_1_all\.deb: not there, or not the file of two 1 that the lock pins: "
        rf"set KHARDEN_DEBIAN_MIRROR={snapshot}, .*kharden\.artifacts\.pin packages",
    ):
        Packages(pins, "amd64", REAL, store).obtain(NAMES, tmp_path)
    # What came is kept, and nothing else is.
    assert [path.name for path in (store.root / "objects/sha256").iterdir()] == [pins.packages["amd64"][0].sha256]
    assert Packages(pins, "amd64", REAL, store).held() == ()


@needs_apt
@pytest.mark.usefixtures("_other_debian")
def test_a_lab_takes_what_debian_signs_today_and_says_so_each_time(
    pins: DebianPins, pool: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pool / "two_1_all.deb").rename(tmp_path / "kept.deb")
    lab = Packages(pins, "amd64", LAB, store)
    found = lab.obtain(NAMES, tmp_path)
    assert [(each.name, each.version) for each in found] == [("one", "2"), ("two", "2")]
    assert lab.held() == found
    (note,) = lab.notes(found)
    assert note.startswith("Debian packages in images: not the pinned ones but one 2, two 2; for the pinned ones set ")
    # A real cluster never has them.
    assert Packages(pins, "amd64", REAL, store).held() == ()
    with pytest.raises(AbsentPackageError):
        Packages(pins, "amd64", REAL, store).obtain(NAMES, tmp_path)
    # Where the remedy is followed, they are asked for again.
    (tmp_path / "snapshot/pool/main").mkdir(parents=True)
    (tmp_path / "kept.deb").rename(tmp_path / "snapshot/pool/main/two_1_all.deb")
    monkeypatch.setenv("KHARDEN_DEBIAN_MIRROR", f"file:{tmp_path}/snapshot")
    assert lab.held() == ()
    assert lab.obtain(NAMES, tmp_path) == expected(pins)
    monkeypatch.delenv("KHARDEN_DEBIAN_MIRROR")
    assert lab.held() == expected(pins)


@needs_apt
@pytest.mark.usefixtures("_other_debian")
def test_a_mirror_of_ours_has_the_pinned_ones_and_nobody_else_is_asked(
    pins: DebianPins, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Packages(pins, "amd64", REAL, store).obtain(NAMES, tmp_path)
    mirror = tmp_path / "mirror/kharden/sha256"
    mirror.mkdir(parents=True)
    monkeypatch.setenv("KHARDEN_DEBIAN_MIRROR", "file:/nowhere")
    origin = replace(LAB, mirror=f"{tmp_path}/mirror")
    other = Store(tmp_path / "other")
    with pytest.raises(Exception, match="not there: see that the mirror is whole"):
        Packages(pins, "amd64", origin, other).obtain(NAMES, tmp_path)
    for each in expected(pins):
        shutil.copy(store.path(each.sha256), mirror / each.sha256)
    assert Packages(pins, "amd64", origin, other).obtain(NAMES, tmp_path) == expected(pins)
    (mirror / expected(pins)[0].sha256).chmod(0o644)
    (mirror / expected(pins)[0].sha256).write_bytes(b"another")
    with pytest.raises(IntegrityError, match="not the lock's"):
        Packages(pins, "amd64", origin, Store(tmp_path / "third")).obtain(NAMES, tmp_path)


@needs_apt
@pytest.mark.usefixtures("_other_debian")
def test_renewing_pins_writes_what_apt_verified_and_nothing_where_nothing_is_new(
    pins: DebianPins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image,) = SMALL.images[:1]
    wanted = replace(image, debian=DebianFiles(NAMES, ("/etc/one",)))
    own = replace(SMALL, images=(wanted,), debian=pins)
    content = json.loads(lock.PATH.read_bytes())
    path = tmp_path / "lock.json"
    path.write_text(json.dumps(content))
    monkeypatch.setattr(lock, "PATH", path)
    moment = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    pin_packages(own, now=moment)
    written = json.loads(path.read_bytes())
    found = written["debian"]
    assert {**content, "debian": found} == written
    assert (found["suite"], found["taken"]) == ("trixie", "20260203T040506Z")
    assert [(row["name"], row["version"]) for row in found["packages"]["amd64"]] == [("one", "2"), ("two", "2")]
    assert all(len(row["sha256"]) == 64 and row["size"] > 0 for row in found["packages"]["amd64"])
    before = path.read_bytes()
    pin_packages(own, now=moment.replace(year=2027))
    assert path.read_bytes() == before


def test_an_architecture_without_pins_is_refused(pins: DebianPins, store: Store, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="the lock has no Debian packages for arm64"):
        Packages(pins, "arm64", LAB, store).obtain(NAMES, tmp_path)


@pytest.fixture
def small(pins: DebianPins, monkeypatch: pytest.MonkeyPatch) -> lock.Lock:
    """pause's release, whose image has two files of packages besides."""
    (image,) = SMALL.images[:1]
    wanted = replace(image, debian=DebianFiles(NAMES, ("/etc/one", "/etc/two")))
    pairing = replace(SMALL.releases[0], images=(wanted.reference,))
    own = replace(SMALL, images=(wanted,), releases=(pairing,), debian=pins)
    monkeypatch.setattr(lock, "load", lambda: own)
    return own


@needs_apt
@pytest.mark.programs
@pytest.mark.usefixtures("_other_debian", "small")
def test_images_bundles_and_checks_go_by_the_pins(pins: DebianPins, pool: Path, store: Store, tmp_path: Path) -> None:
    made = fetch.fetch(VERSION, "amd64", REAL, store=store, progress=Heard())
    assert made.images[0].packages == expected(pins)
    assert fetch.verify(VERSION, "amd64", REAL, store=store) == made
    written = bundle.write(VERSION, ("amd64",), REAL, store=store, target=tmp_path / "mirror")
    assert {each.sha256 for each in pins.packages["amd64"]} < {each.sha256 for each in written.files}
    other = Store(tmp_path / "other")
    origin = replace(REAL, mirror=f"{tmp_path}/mirror")
    assert fetch.fetch(VERSION, "amd64", origin, store=other, progress=Heard()).images == made.images
    # A damaged one is found, named, and fetched again.
    path = store.path(pins.packages["amd64"][0].sha256)
    path.chmod(0o600)
    path.write_bytes(b"swapped")
    with pytest.raises(IntegrityError, match=r"Debian packages: not fetched|one 1: .*damaged"):
        fetch.verify(VERSION, "amd64", REAL, store=store)
    assert fetch.fetch(VERSION, "amd64", REAL, store=store, progress=Heard()).images == made.images
    assert fetch.verify(VERSION, "amd64", REAL, store=store) == made
    # Others make another image, are told of by both, and never get into a bundle.
    shutil.rmtree(pool)
    lab = Store(tmp_path / "lab")
    taken = fetch.fetch(VERSION, "amd64", LAB, store=lab, progress=Heard())
    assert taken.images[0].digest != made.images[0].digest
    assert [note for note in taken.notes if "not the pinned ones but one 2, two 2" in note]
    assert (made.pinned, taken.pinned) == (True, False)
    assert fetch.verify(VERSION, "amd64", LAB, store=lab) == taken
    with pytest.raises(MissingError, match="one 1: not in the cache"):
        bundle.write(VERSION, ("amd64",), LAB, store=lab, target=tmp_path / "second")
    with pytest.raises(IntegrityError, match="Debian packages: not fetched"):
        fetch.verify(VERSION, "amd64", REAL, store=lab)
