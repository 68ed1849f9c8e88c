from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kharden.artifacts.debian_mirror import Archives, debian_archives, debian_mirror, mirror_of
from kharden.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

TARGETS = """\
http://security.example/debian-security bookworm-security main
http://mirror.example/debian/ bookworm-updates main
http://mirror.example/debian/ bookworm contrib
http://mirror.example/debian/ bookworm main
http://other.example/debian/ trixie main
"""


def test_the_mirror_is_the_hosts_first_main_archive() -> None:
    assert mirror_of(TARGETS) == "http://mirror.example/debian"


def test_a_list_of_mirrors_is_read(tmp_path: Path) -> None:
    (tmp_path / "debian.list").write_text("https://first.example/debian\nhttps://second.example/debian\n")
    assert mirror_of(f"mirror+file:{tmp_path}/debian.list bookworm main\n") == "https://first.example/debian"
    assert mirror_of("mirror+file:/nowhere bookworm main\n") is None


def test_other_distributions_have_no_debian_mirror() -> None:
    assert mirror_of("http://archive.example/ubuntu noble main\n") is None
    assert mirror_of("") is None


def test_a_chosen_mirror_wins_and_must_be_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KHARDEN_DEBIAN_MIRROR", "https://mirror.example/debian")
    assert debian_mirror() == "https://mirror.example/debian"
    monkeypatch.setenv("KHARDEN_DEBIAN_MIRROR", "--foreign")
    with pytest.raises(InputError, match="not an address"):
        debian_mirror()


@pytest.mark.parametrize(
    ("main", "security"),
    [
        ("http://deb.debian.org/debian", "http://deb.debian.org/debian-security"),
        (
            "https://snapshot.debian.org/archive/debian/20260101T000000Z",
            "https://snapshot.debian.org/archive/debian-security/20260101T000000Z",
        ),
        ("https://mirror.example/os/", "https://mirror.example/os"),
    ],
)
def test_security_updates_lie_beside_the_archive(main: str, security: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KHARDEN_DEBIAN_MIRROR", main)
    assert debian_archives() == Archives(main.rstrip("/"), security)


def test_a_package_lies_in_the_archive_that_its_path_tells() -> None:
    archives = Archives("http://a/debian", "http://a/debian-security")
    assert archives.address("pool/main/n/x.deb") == "http://a/debian/pool/main/n/x.deb"
    assert archives.address("pool/updates/main/n/x.deb") == "http://a/debian-security/pool/updates/main/n/x.deb"
    assert Archives("file:/srv/debian", "").address("pool/x.deb") == "copy:/srv/debian/pool/x.deb"
