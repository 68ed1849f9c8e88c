from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from typing import TYPE_CHECKING

import pytest

from kharden.artifacts import toolchain
from kharden.artifacts.lock import Download, Toolchain
from kharden.artifacts.store import Store
from kharden.errors import IntegrityError, MissingError

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "go1.26.8"
NO_GO = {"PATH": "/nonexistent", "HOME": "/nonexistent"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def download(content: bytes) -> Download:
    return Download(hashlib.sha256(content).hexdigest(), len(content))


def publish(folder: Path, members: dict[str, str]) -> Download:
    """Put a module zip of the toolchain where a proxy at `folder` would have it."""
    architecture = toolchain.HOSTS[os.uname().machine]
    version = f"v0.0.1-{VERSION}.linux-{architecture}"
    path = folder / "golang.org/toolchain/@v" / f"{version}.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"golang.org/toolchain@{version}/{name}" if name[0] != "!" else name[1:], content)
    return download(path.read_bytes())


def find(published: Download, proxy: Path, store: Store) -> toolchain.Go:
    zips = dict.fromkeys(toolchain.HOSTS.values(), published)
    with store.work() as work:
        go = toolchain.find(Toolchain(VERSION, zips), store, work, NO_GO | {"GOPROXY": f"direct,file://{proxy}"})
        assert (work / "go/src/cmd/go.mod").read_text() == "module cmd"
        assert not (work / "go/src/cmd/_go.mod").exists()
        assert os.access(go.command, os.X_OK)
        return go


GOOD = {"bin/go": "#!/bin/sh\necho '{}'\n", "pkg/tool/linux_amd64/compile": "x", "src/cmd/_go.mod": "module cmd"}


def test_without_go_the_pinned_one_is_fetched_unpacked_and_kept(tmp_path: Path, store: Store) -> None:
    published = publish(tmp_path / "proxy", GOOD)
    assert find(published, tmp_path / "proxy", store).environment["GOTOOLCHAIN"] == "local"
    shutil.rmtree(tmp_path / "proxy")
    find(published, tmp_path / "proxy", store)
    store.verify(published.sha256).unlink()
    with pytest.raises(toolchain.DownloadError, match="can't fetch"):
        find(published, tmp_path / "proxy", store)


@pytest.mark.parametrize("change", [b"", b"PK", b"x" * 10_000], ids=["empty", "truncated", "oversized"])
def test_a_zip_that_is_not_the_pinned_one_is_never_unpacked(tmp_path: Path, store: Store, change: bytes) -> None:
    published = publish(tmp_path / "proxy", GOOD)
    (path,) = (tmp_path / "proxy").rglob("*.zip")
    path.write_bytes(change)
    with pytest.raises(IntegrityError, match=f"not the pinned {published.sha256}"):
        find(published, tmp_path / "proxy", store)
    with pytest.raises(MissingError):
        store.path(published.sha256)


@pytest.mark.parametrize("name", ["!elsewhere/bin/go", "../../bin/go"])
def test_a_zip_that_would_write_elsewhere_is_refused(tmp_path: Path, store: Store, name: str) -> None:
    published = publish(tmp_path / "proxy", {name: "x"})
    with pytest.raises(IntegrityError, match=r"holds '.*bin/go'"):
        find(published, tmp_path / "proxy", store)


def test_an_endless_answer_is_cut_off(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 5_000_000)
    with pytest.raises(IntegrityError, match="11 bytes"):
        toolchain.fetch_file(f"file://{source}", download(b"0123456789"), tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_credentials_of_a_proxy_are_never_shown(tmp_path: Path) -> None:
    url = "http://someone:hunter2@127.0.0.1:1/x"
    with pytest.raises(toolchain.DownloadError) as raised:
        toolchain.fetch_file(url, download(b"x"), tmp_path / "target")
    assert str(raised.value).startswith("http://127.0.0.1/x: can't fetch")
    assert "hunter2" not in repr(raised.value) + str(raised.value)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("https://a.test,https://b.test,direct", "https://a.test"),
        ("direct|file:///srv/proxy/", "file:///srv/proxy"),
        ("off,http://c.test", "http://c.test"),
    ],
)
def test_the_first_proxy_is_asked(setting: str, expected: str) -> None:
    assert toolchain.proxy({"GOPROXY": setting}) == expected


@pytest.mark.parametrize("setting", ["", "off", "direct", ",", "ftp://a.test"])
def test_no_proxy_is_said(setting: str) -> None:
    with pytest.raises(MissingError, match="install Go"):
        toolchain.proxy({"GOPROXY": setting})


def test_a_compile_inherits_places_and_nothing_that_changes_it(store: Store) -> None:
    if shutil.which("go") is None:
        pytest.skip("no Go here")
    changed = {
        "GOFLAGS": "-tags=other",
        "GOEXPERIMENT": "nothing",
        "GOAMD64": "v3",
        "CGO_ENABLED": "1",
        "GONOSUMDB": "*",
        "GOPRIVATE": "*",
        "GOTOOLCHAIN": "path",
        "GOPROXY": "https://proxy.test",
        "GOCACHE": "/var/cache/go",
        "SECRET": "hunter2",
    }
    with store.work() as work:
        go = toolchain.find(Toolchain(VERSION, {}), store, work, {**os.environ, **changed})
    assert go.environment["GOTOOLCHAIN"] == VERSION
    assert go.environment["GOPROXY"] == "https://proxy.test"
    assert go.environment["GOCACHE"] == "/var/cache/go"
    assert go.environment["CGO_ENABLED"] == "0"
    assert go.environment["GOFLAGS"] == ""
    assert not {"GOEXPERIMENT", "GOAMD64", "GONOSUMDB", "GOPRIVATE", "SECRET"} & set(go.environment)
