"""Programs from publishers and mirrors: real archives and programs, good and bad, over HTTPS and from folders."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from kharden.artifacts import download, fetch, lock, published, unpack
from kharden.artifacts.store import Store
from kharden.artifacts.transport import DownloadError
from kharden.errors import IntegrityError, MissingError
from kharden.plan.model import ArtifactsPlan

from . import publisher as bad
from .publisher import Publisher, publishing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kharden.artifacts.model import Artifacts

WHOLE = lock.load()
VERSION = "1.36.3"
OFFICIAL = ArtifactsPlan(official=True, mirror="")
MACHINES = {"amd64": 62, "arm64": 183}
KUBELET = "dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet"
PLUGINS = "github.com/containernetworking/plugins/releases/download/v1.9.1/cni-plugins-linux-amd64-v1.9.1.tgz"


def program(name: str, architecture: str = "amd64") -> bytes:
    """A whole ELF header for that machine, and bytes that are this program's alone."""
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 2, MACHINES[architecture], 1, 0, 64, 0, 0, 64, 56, 0, 0, 0, 0)
    return head + hashlib.sha512(f"{name} {architecture}".encode()).digest() * 4000


def archive(members: dict[str, bytes], kinds: dict[str, bytes] | None = None) -> bytes:
    """As the CNI plugins are published."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as content:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o4777, len(data)
            entry.type = (kinds or {}).get(name, tarfile.REGTYPE)
            entry.linkname = "/etc/passwd" if entry.type != tarfile.REGTYPE else ""
            content.addfile(entry, io.BytesIO(data))
    return gzip.compress(target.getvalue(), mtime=0)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Heard:
    """Remembers what a fetch told."""

    made: list[str] = field(default_factory=list)
    parts: int = 0

    def start(self, item: str) -> None:
        assert item

    def advance(self, item: str, done: int, total: int) -> None:
        assert item
        assert done <= total
        self.parts += 1

    def done(self, item: str, seconds: float, cached: bool) -> None:  # noqa: FBT001 - as Progress
        assert seconds >= 0
        if not cached:
            self.made.append(item)


def locked(files: dict[str, bytes]) -> lock.Lock:
    """A lock of kubelet and two CNI plugins alone, whose published bytes are `files`, and whose builds are others."""
    wanted = ("kubelet", "bridge", "portmap")
    official = {"kubelet": files[KUBELET], "bridge": files[PLUGINS], "portmap": files[PLUGINS]}
    programs = tuple(
        replace(each, release={"amd64": sha256(official[each.name])}, built={"amd64": sha256(program(each.name))})
        for each in WHOLE.programs
        if each.name in wanted and each.version in {VERSION, "1.9.1"}
    )
    pairing = lock.Pairing(VERSION, {each.name: each.version for each in programs}, ())
    return replace(WHOLE, programs=programs, images=(), releases=(pairing,))


GOOD = {
    KUBELET: program("kubelet, published"),
    PLUGINS: archive({"./": b"", "./bridge": program("bridge, published"), "./portmap": program("portmap, published")}),
}


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    (tmp_path / "tls").mkdir()
    with publishing(tmp_path / "tls") as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        limits = download.Limits(timeout=120, pause=0.01)
        monkeypatch.setattr(published, "Downloader", lambda folder: download.Downloader(folder, limits))
        running.files.update(GOOD)
        yield running


@pytest.fixture(autouse=True)
def _lock(monkeypatch: pytest.MonkeyPatch) -> None:
    own = locked(GOOD)
    monkeypatch.setattr(lock, "load", lambda: own)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def run(store: Store, origin: ArtifactsPlan = OFFICIAL) -> tuple[Artifacts, Heard]:
    heard = Heard()
    return fetch.fetch(VERSION, "amd64", origin, store=store, progress=heard), heard


def test_published_files_are_fetched_verified_and_unpacked(store: Store, publisher: Publisher) -> None:
    first, heard = run(store)
    for name in ("kubelet", "bridge", "portmap"):
        file = first.programs[name]
        assert store.path(file.sha256).read_bytes() == program(f"{name}, published")
        assert file.official
        assert file.size == len(program(f"{name}, published"))
    assert heard.parts
    assert heard.made[2:] == ["kubelet 1.36.3", "bridge 1.9.1", "portmap 1.9.1"]
    assert sorted(heard.made[:2]) == ["cni-plugins-linux-amd64-v1.9.1.tgz from github.com", "kubelet from dl.k8s.io"]
    assert sorted(publisher.paths()) == [KUBELET, PLUGINS]
    # A second time nothing is asked for, and verify finds the same.
    second, heard = run(Store(store.root))
    assert (second, heard.made) == (first, [])
    assert len(publisher.asked) == 2
    assert fetch.verify(VERSION, "amd64", OFFICIAL, store=store) == first
    assert not list(store.downloads.iterdir())


def test_what_a_node_must_have_follows_from_the_lock(store: Store, publisher: Publisher) -> None:  # noqa: ARG001 - it runs
    digests = {"kubelet": sha256(GOOD[KUBELET])}
    assert fetch.expected(VERSION, "amd64", OFFICIAL, store=store) == digests
    run(store)
    digests |= {name: sha256(program(f"{name}, published")) for name in ("bridge", "portmap")}
    assert fetch.expected(VERSION, "amd64", OFFICIAL, store=store) == digests
    built = fetch.expected(VERSION, "amd64", replace(OFFICIAL, official=False), store=store)
    assert built == {name: sha256(program(name)) for name in ("kubelet", "bridge", "portmap")}


def test_a_lost_index_costs_no_download(store: Store, publisher: Publisher) -> None:
    first, _ = run(store)
    (store.root / "index.json").unlink()
    assert run(Store(store.root))[0] == first
    assert len(publisher.asked) == 2


def test_a_damaged_program_is_named_and_made_anew(store: Store, publisher: Publisher) -> None:
    first, _ = run(store)
    path = store.path(first.programs["bridge"].sha256)
    path.chmod(0o600)
    path.write_bytes(b"swapped")
    second, heard = run(store)
    assert second.programs == first.programs
    assert [note for note in second.notes if str(path) in note]
    assert heard.made == ["bridge 1.9.1"]
    assert len(publisher.asked) == 2


@pytest.mark.parametrize("place", [KUBELET, PLUGINS])
def test_a_tampered_file_is_never_unpacked_nor_kept(store: Store, publisher: Publisher, place: str) -> None:
    publisher.files[place] = GOOD[place][:-1] + b"x"
    with pytest.raises(IntegrityError, match=rf"^https://{place}: .*removed"):
        run(store)
    assert not [
        path for path in store.root.rglob("*") if path.is_file() and sha256(publisher.files[place]) in path.name
    ]
    assert not (store.downloads / f"{sha256(GOOD[place])}.part").exists()


def test_the_wrong_architecture_is_refused_though_its_digest_is_right(
    store: Store, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, what in (
        (program("kubelet", "arm64"), "kubelet 1.36.3: published for arm64, not amd64, removed"),
        (b"#!/bin/sh\n", "kubelet 1.36.3: not a program for 64-bit Linux"),
    ):
        publisher.files[KUBELET] = content
        own = locked(GOOD | {KUBELET: content})
        monkeypatch.setattr(lock, "load", partial(replace, own))
        with pytest.raises(IntegrityError, match=what):
            run(store)
        with pytest.raises(MissingError):
            store.path(sha256(content))


def test_a_mirror_that_is_down_is_said_in_one_line_and_nothing_is_kept(store: Store, publisher: Publisher) -> None:
    for place in GOOD:
        publisher.faults[place] = bad.status(404)
    with pytest.raises(DownloadError, match=r"can't fetch \(status 404\): look at the network"):
        run(store)
    with pytest.raises(IntegrityError, match=r"kubelet 1\.36\.3: not fetched"):
        fetch.verify(VERSION, "amd64", OFFICIAL, store=store)


@pytest.mark.parametrize("kind", ["https", "folder"])
def test_a_mirror_is_laid_out_like_the_official_addresses(
    store: Store, publisher: Publisher, tmp_path: Path, kind: str
) -> None:
    publisher.files = {f"mirror.example.org/k/{place}": content for place, content in GOOD.items()}
    for place, content in GOOD.items():
        (tmp_path / "mirror" / place).parent.mkdir(parents=True)
        (tmp_path / "mirror" / place).write_bytes(content)
    mirror = "https://mirror.example.org/k" if kind == "https" else str(tmp_path / "mirror")
    found, heard = run(store, replace(OFFICIAL, mirror=mirror))
    assert found.programs["bridge"].sha256 == sha256(program("bridge, published"))
    assert {place.partition("/")[0] for place in publisher.paths()} <= {"mirror.example.org"}
    assert len(heard.made) == 5


def test_our_own_builds_come_from_a_mirror_by_their_digest(store: Store, publisher: Publisher) -> None:
    ours = replace(OFFICIAL, official=False, mirror="https://mirror.example.org/k")
    publisher.files = {
        f"mirror.example.org/k/kharden/sha256/{sha256(program(name))}": program(name)
        for name in ("kubelet", "bridge", "portmap")
    }
    found, _ = run(store, ours)
    assert {name: file.sha256 for name, file in found.programs.items()} == fetch.expected(
        VERSION, "amd64", ours, store=store
    )
    assert not any(file.official for file in found.programs.values())


def test_real_machines_are_refused_what_has_no_official_digest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "load", lambda: WHOLE)
    with pytest.raises(MissingError) as raised:
        run(store)
    said = str(raised.value)
    assert said.startswith("Kubernetes 1.36.3 on amd64: the lock has no official digest of kube-apiserver, ")
    assert said.endswith(
        "choose a version of which it has all, or say artifacts.source: source to take kharden's own builds"
    )
    assert "\n" not in said
    assert {path.name for path in store.root.iterdir()} == {"objects", "logs"}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (archive({"bridge": b"x"}), "holds no portmap"),
        (archive({"portmap": b"x", "./portmap": b"y"}), "is not one regular file"),
        (archive({"portmap": b""}, {"portmap": tarfile.SYMTYPE}), "is not one regular file"),
        (archive({"portmap": b""}, {"portmap": tarfile.DIRTYPE}), "is not one regular file"),
        (archive({"portmap": b"x" * 5000})[:-20], "can't be unpacked"),
        (b"no archive", "can't be unpacked"),
        (archive({"big": b"\0" * 3_000_000, "portmap": b"x"}), "unpacks to more than 2000000 bytes"),
    ],
    ids=["absent", "twice", "a link", "a folder", "cut short", "no archive", "a bomb"],
)
def test_a_bad_archive_gives_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, what: str
) -> None:
    monkeypatch.setattr(unpack, "LARGEST", 2_000_000)
    (tmp_path / "plugins.tgz").write_bytes(content)
    with pytest.raises(IntegrityError, match=what):
        unpack.member(tmp_path / "plugins.tgz", "portmap", tmp_path / "portmap")


def test_only_the_bytes_of_a_member_count(tmp_path: Path) -> None:
    content = archive({"../../etc/passwd": b"evil", "./portmap": b"good", "/absolute": b"evil"})
    (tmp_path / "plugins.tgz").write_bytes(content)
    unpack.member(tmp_path / "plugins.tgz", "portmap", tmp_path / "portmap")
    assert (tmp_path / "portmap").read_bytes() == b"good"
    assert (tmp_path / "portmap").stat().st_mode & 0o7777 == 0o555
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plugins.tgz", "portmap"]


COSIGN = """\
#!/bin/sh
printf '%s\\n' "$@" >"$HOME/said"
[ "$(/bin/cat "$3")" = good ] || { echo 'main.go:74: error during command execution: invalid signature' >&2; exit 1; }
"""


@pytest.fixture
def cosign(tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for cosign that takes signatures that say "good", and the trust that it needs; its arguments."""
    (tmp_path / "bin").mkdir()
    program_path = tmp_path / "bin/cosign"
    program_path.write_text(COSIGN)
    program_path.chmod(0o755)
    (tmp_path / ".sigstore/root").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TUF_ROOT", raising=False)
    publisher.files |= {f"{KUBELET}.sig": b"good", f"{KUBELET}.cert": b"certificate"}
    return tmp_path / "said"


SIGNER = "krel-staging@k8s-releng-prod.iam.gserviceaccount.com"
UNSIGNED = "signature of bridge, portmap: not checked: the lock names no signer of it"


def test_a_signature_is_checked_where_the_publisher_signs(store: Store, cosign: Path) -> None:
    found, _ = run(store)
    assert found.notes == (f"signature of kubelet: checked: {SIGNER}", UNSIGNED)
    said = cosign.read_text().splitlines()
    assert said[0] == "verify-blob"
    assert [argument for argument in said if argument.startswith("--certificate-")] == [
        f"--certificate-identity={SIGNER}",
        "--certificate-oidc-issuer=https://accounts.google.com",
    ]
    assert said[-1] == str(store.path(found.programs["kubelet"].sha256))


def test_a_bad_signature_refuses_the_file_though_its_digest_is_right(
    store: Store, publisher: Publisher, cosign: Path
) -> None:
    publisher.files[f"{KUBELET}.sig"] = b"bad"
    with pytest.raises(
        IntegrityError, match=rf"^kubelet 1\.36\.3: its signature by {SIGNER} isn't good \(cosign: .*inval"
    ):
        run(store)
    assert cosign.exists()
    # It is not forgotten: the file is in the cache, and still refused.
    with pytest.raises(IntegrityError, match="isn't good"):
        run(store)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("bin/cosign", "not checked: cosign is not installed"),
        (".sigstore/root", "not checked: cosign has no trust root in "),
        ("signature", "not checked: no kubelet.sig beside it"),
        ("certificate", "not checked: no kubelet.cert beside it"),
    ],
)
def test_what_was_not_checked_is_said(  # noqa: PLR0917 - fixtures
    store: Store, publisher: Publisher, cosign: Path, tmp_path: Path, missing: str, said: str
) -> None:
    if missing == "bin/cosign":
        (tmp_path / missing).unlink()
    elif missing == ".sigstore/root":
        (tmp_path / missing).rmdir()
    else:
        del publisher.files[f"{KUBELET}{'.sig' if missing == 'signature' else '.cert'}"]
    found, _ = run(store)
    assert found.notes[0].startswith(f"signature of kubelet: {said}")
    assert not cosign.exists()
