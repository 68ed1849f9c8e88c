"""Files that cluster.yaml names: read from inside the cluster's folder, or refused with one line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kharden.errors import InputError, KhardenError, MissingError, RefusedError
from kharden.securefile import read_inside

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster/pki").mkdir(parents=True)
    (tmp_path / "cluster/pki/ca.crt").write_bytes(b"inside")
    (tmp_path / "outside").write_bytes(b"outside")
    return tmp_path / "cluster"


def test_a_file_is_read(folder: Path) -> None:
    assert read_inside(folder, "pki/ca.crt", limit=6) == b"inside"


@pytest.mark.parametrize(
    "path", ["../outside", "pki/../../outside", "/etc/hostname", "pki//ca.crt", "./pki/ca.crt", ""]
)
def test_no_path_leads_out(folder: Path, path: str) -> None:
    with pytest.raises(InputError, match="leads out"):
        read_inside(folder, path, limit=100)


def test_no_link_is_followed_wherever_it_stands(folder: Path) -> None:
    (folder / "pki/link").symlink_to("ca.crt")
    (folder / "way").symlink_to("pki")
    (folder / "out").symlink_to("../outside")
    for path in ("pki/link", "way/ca.crt", "out"):
        with pytest.raises(RefusedError, match="a symbolic link is on the way"):
            read_inside(folder, path, limit=100)


def test_what_is_no_file_or_too_large_is_named(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    expected: list[tuple[str, type[KhardenError], str]] = [
        ("pki", InputError, "is no file"),
        ("pipe", InputError, "is no file"),
        ("pki/ca.crt", InputError, "larger than 5 bytes"),
        ("pki/ca.key", MissingError, "No such file"),
        ("none/ca.key", MissingError, "No such file"),
        ("pki/ca.crt/x", RefusedError, "in a folder's place"),
    ]
    for path, kind, text in expected:
        with pytest.raises(kind, match=text) as caught:
            read_inside(folder, path, limit=5)
        assert str(folder) in str(caught.value)
        assert caught.value.remedy


def test_no_descriptor_is_left_open(folder: Path) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208  # names alone
    for path in ("pki/ca.crt", "pki/none"):
        try:
            read_inside(folder, path, limit=10)
        except MissingError:
            continue
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208  # names alone
