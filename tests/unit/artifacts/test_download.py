from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kharden.artifacts.download import Downloader, Limits, Wanted
from kharden.artifacts.transport import DownloadError, shown
from kharden.errors import IntegrityError

from . import publisher as bad
from .publisher import Publisher, publishing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PLACE = "dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet"
CONTENT = os.urandom(3_000_000)
QUICK = Limits(largest=4_000_000, timeout=120, slowest=1000, grace=120, attempts=3, pause=0.01)
WANTED = Wanted("kubelet", f"https://{PLACE}", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    with publishing(tmp_path) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        running.files[PLACE] = CONTENT
        yield running


@pytest.fixture
def downloader(tmp_path: Path, publisher: Publisher) -> Downloader:  # noqa: ARG001 - its environment must be there
    return Downloader(tmp_path / "downloads", QUICK)


def left(downloader: Downloader) -> int:
    """Bytes of the part that is kept."""
    part = downloader._folder / f"{WANTED.sha256}.part"  # noqa: SLF001 - where it lies is its own business
    return part.stat().st_size if part.exists() else 0


def test_a_good_file_comes_whole_and_is_told(downloader: Downloader, publisher: Publisher) -> None:
    heard: list[tuple[int, int]] = []
    path = downloader.fetch(WANTED, lambda done, total: heard.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert heard[-1] == (len(CONTENT), len(CONTENT))
    assert heard == sorted(heard)
    assert publisher.asked == [(PLACE, "")]


def test_a_redirect_to_another_https_host_is_followed(downloader: Downloader, publisher: Publisher) -> None:
    publisher.faults[PLACE] = bad.status(302, Location="https://cdn.dl.k8s.io/kubelet?token=secret")
    publisher.files["cdn.dl.k8s.io/kubelet?token=secret"] = CONTENT
    assert downloader.fetch(WANTED).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        (bad.cut(2_000_000), [(PLACE, ""), (PLACE, "bytes=2000000-")]),
        (bad.cut(1_000_000, 2), [(PLACE, ""), (PLACE, "bytes=1000000-"), (PLACE, "bytes=2000000-")]),
        (bad.cut(100), [(PLACE, ""), (PLACE, "")]),
        (bad.status(503, 2), [(PLACE, "")] * 3),
        (bad.status(429, 1), [(PLACE, "")] * 2),
    ],
    ids=["cut off", "cut off twice", "cut off at once", "out of service", "too many requests"],
)
def test_what_passes_is_waited_out_and_gone_on_with(
    downloader: Downloader, publisher: Publisher, fault: Callable[..., bool], requests: list[tuple[str, str]]
) -> None:
    publisher.faults[PLACE] = fault
    assert downloader.fetch(WANTED).read_bytes() == CONTENT
    assert publisher.asked == requests


def test_a_part_is_gone_on_with_in_another_process(downloader: Downloader, publisher: Publisher) -> None:
    publisher.faults[PLACE] = bad.cut(500_000, 3)
    with pytest.raises(DownloadError, match=r"can't fetch \(cut off.*; asked 3 times\)"):
        downloader.fetch(WANTED)
    assert left(downloader) == 1_500_000
    publisher.asked.clear()
    again = Downloader(downloader._folder, QUICK)  # noqa: SLF001 - the same folder
    assert again.fetch(WANTED).read_bytes() == CONTENT
    assert publisher.asked == [(PLACE, "bytes=1500000-")]


def test_a_server_without_ranges_begins_anew(downloader: Downloader, publisher: Publisher) -> None:
    publisher.faults[PLACE] = bad.cut(1_000_000)
    partly = Downloader(downloader._folder, replace(QUICK, attempts=1))  # noqa: SLF001 - the same folder
    with pytest.raises(DownloadError):
        partly.fetch(WANTED)
    publisher.faults[PLACE] = bad.whole
    assert downloader.fetch(WANTED).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "kept",
    [CONTENT, CONTENT + b"more", os.urandom(len(CONTENT)), os.urandom(1_000_000)],
    ids=["the whole", "more", "another", "another's part"],
)
def test_whatever_part_lay_there_the_whole_file_is_the_right_one(
    downloader: Downloader, publisher: Publisher, kept: bytes
) -> None:
    downloader._folder.mkdir()  # noqa: SLF001 - where it lies is its own business
    (downloader._folder / f"{WANTED.sha256}.part").write_bytes(kept)  # noqa: SLF001 - as above
    assert downloader.fetch(WANTED).read_bytes() == CONTENT
    assert len(publisher.asked) == (1 if kept == CONTENT else 2)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (CONTENT[:-1], "2999999 bytes with sha256"),
        (CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), "3000000 bytes with sha256"),
        (b"", "0 bytes with sha256"),
        (b"<html>Sign in</html>", "20 bytes with sha256"),
    ],
    ids=["truncated", "tampered", "empty", "another"],
)
def test_another_file_is_removed_and_named(
    downloader: Downloader, publisher: Publisher, content: bytes, what: str
) -> None:
    publisher.files[PLACE] = content
    with pytest.raises(IntegrityError, match=rf"^https://{PLACE}: {what} .*, not the lock's .*, removed"):
        downloader.fetch(WANTED)
    assert list(downloader._folder.iterdir()) == []  # noqa: SLF001 - where it lies is its own business


@pytest.mark.parametrize(
    ("fault", "what", "requests"),
    [
        (bad.claims(4_000_001), r"4000001 bytes, too large", 1),
        (bad.endless, r"more than 4000000 bytes, too large", 1),
        (bad.cut(100, 9), r"can't fetch \(cut off.*; asked 3 times\)", 3),
        (bad.status(404), r"can't fetch \(status 404\)", 1),
        (bad.status(403), r"can't fetch \(status 403\)", 1),
        (bad.status(500), r"can't fetch \(status 500; asked 3 times\)", 3),
        (bad.status(302, Location="http://dl.k8s.io/kubelet?x=secret"), r"redirects to http://dl\.k8s\.io/kubelet,", 1),
        (bad.status(302, Location="file:///etc/passwd"), r"can't fetch \(status 302\)", 1),
        (bad.status(302, Location=f"https://{PLACE}"), r"can't fetch \(status 302\)", 5),
    ],
    ids=[
        *("larger than sense", "endless", "always cut off", "absent", "forbidden", "broken"),
        *("downgraded", "led to a file", "led round in circles"),
    ],
)
def test_a_bad_server_is_named_in_one_line(
    downloader: Downloader, publisher: Publisher, fault: Callable[..., bool], what: str, requests: int
) -> None:
    publisher.faults[PLACE] = fault
    refused(downloader, what)
    assert len(publisher.asked) == requests


@pytest.mark.parametrize(
    ("fault", "limits", "what", "requests"),
    [
        (bad.trickle, replace(QUICK, grace=0.2), r"too slow \(\d+ bytes a second\)", 1),
        (bad.silence, replace(QUICK, timeout=1), r"can't fetch \(no answer in time; asked 3 times\)", 3),
    ],
    ids=["slow", "silent"],
)
def test_a_server_that_lets_us_wait_is_given_up(  # noqa: PLR0917  # parameters
    tmp_path: Path, publisher: Publisher, fault: Callable[..., bool], limits: Limits, what: str, requests: int
) -> None:
    publisher.faults[PLACE] = fault
    refused(Downloader(tmp_path / "downloads", limits), what)
    assert len(publisher.asked) <= requests  # fewer are heard where a machine is too busy to connect in time


def refused(downloader: Downloader, what: str) -> None:
    with pytest.raises(DownloadError, match=what) as raised:
        downloader.fetch(WANTED)
    said = str(raised.value)
    assert said.startswith(f"https://{PLACE}: ")
    assert raised.value.remedy
    assert "\n" not in said
    assert "secret" not in said


def test_another_part_than_was_asked_for_is_never_put_in(downloader: Downloader, publisher: Publisher) -> None:
    publisher.faults[PLACE] = bad.cut(1_000_000)
    with pytest.raises(DownloadError):
        Downloader(downloader._folder, replace(QUICK, attempts=1)).fetch(WANTED)  # noqa: SLF001 - the same folder
    publisher.faults[PLACE] = bad.elsewhere
    with pytest.raises(DownloadError, match="another part of the file"):
        downloader.fetch(WANTED)
    assert left(downloader) == 1_000_000


def test_a_server_that_nobody_vouches_for_is_not_asked(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    with pytest.raises(DownloadError, match=r"not trusted \(unable to get local issuer certificate\).*SSL_CERT_FILE"):
        Downloader(tmp_path / "downloads", QUICK).fetch(WANTED)
    assert publisher.asked == []


def test_a_server_with_another_name_is_not_asked(downloader: Downloader, publisher: Publisher) -> None:
    with pytest.raises(DownloadError, match=r"not trusted \(Hostname mismatch.*'elsewhere\.example\.org'"):
        downloader.fetch(replace(WANTED, location="https://elsewhere.example.org/kubelet"))
    assert publisher.asked == []


@pytest.mark.parametrize("location", ["http://dl.k8s.io/kubelet", "ftp://dl.k8s.io/x", "file:///etc/passwd", "kubelet"])
def test_nothing_but_https_and_folders(downloader: Downloader, location: str) -> None:
    with pytest.raises(DownloadError, match="not an https address"):
        downloader.fetch(replace(WANTED, location=location))


def test_a_server_that_is_down_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    downloader = Downloader(tmp_path / "downloads", replace(QUICK, pause=60))
    with pytest.raises(DownloadError, match=r"^https://127\.0\.0\.1:9/kubelet: can't fetch \(Connection refused\)"):
        downloader.fetch(replace(WANTED, location="https://127.0.0.1:9/kubelet"))


def test_a_folder_is_a_mirror_as_well(tmp_path: Path, downloader: Downloader) -> None:
    file = tmp_path / "kubelet"
    file.write_bytes(CONTENT)
    assert downloader.fetch(replace(WANTED, location=str(file))).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=f"^{tmp_path}/absent: not there: see that the mirror is whole"):
        downloader.fetch(replace(WANTED, location=str(tmp_path / "absent"), sha256="1" * 64))
    with file.open("ab") as stream:
        stream.truncate(4_000_001)
    with pytest.raises(DownloadError, match="4000001 bytes, too large"):
        downloader.fetch(replace(WANTED, location=str(file), sha256="2" * 64))


def test_several_at_once_and_the_first_that_fails_ends_it(downloader: Downloader, publisher: Publisher) -> None:
    files = []
    for number in range(12):
        content = os.urandom(200_000)
        publisher.files[f"dl.k8s.io/{number}"] = content
        files.append(Wanted(f"file {number}", f"https://dl.k8s.io/{number}", hashlib.sha256(content).hexdigest()))
    heard = set()
    fetched = dict(downloader.fetch_all(files, lambda title, _done, _total: heard.add(title)))
    assert {wanted.title for wanted in fetched} == heard == {wanted.title for wanted in files}
    publisher.faults["dl.k8s.io/3"] = bad.status(404)
    publisher.asked.clear()
    for path in fetched.values():
        path.unlink()
    with pytest.raises(DownloadError, match=r"^https://dl\.k8s\.io/3: can't fetch \(status 404\)"):
        list(downloader.fetch_all(files, lambda *_: None))
    del publisher.faults["dl.k8s.io/3"]
    assert len(list(downloader.fetch_all(files, lambda *_: None))) == len(files)


def test_small_files_are_bounded_and_may_be_absent(downloader: Downloader, publisher: Publisher) -> None:
    publisher.files[f"{PLACE}.sig"] = b"signature"
    publisher.files[f"{PLACE}.cert"] = b"x" * 70_000
    assert downloader.text(f"https://{PLACE}.sig") == b"signature"
    assert downloader.text(f"https://{PLACE}.none") is None
    with pytest.raises(DownloadError, match="too large"):
        downloader.text(f"https://{PLACE}.cert")
    publisher.faults[f"{PLACE}.sig"] = bad.status(500)
    with pytest.raises(DownloadError, match=r"can't fetch \(status 500\)"):
        downloader.text(f"https://{PLACE}.sig")


def test_what_may_be_secret_in_an_address_is_never_shown() -> None:
    assert shown("https://user:secret@example.org:8443/a/b?token=secret#x") == "https://example.org:8443/a/b"
    assert shown("https://[broken") == "an address that can't be read"
    assert shown("https://example.org:port/") == "an address that can't be read"
