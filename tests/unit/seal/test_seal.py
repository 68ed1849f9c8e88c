from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kharden.errors import InputError, IntegrityError, MissingError, RefusedError
from kharden.seal import (
    STORES,
    Identities,
    fingerprint,
    identity_folder,
    load_or_create_identity,
    seal,
    unseal,
)
from kharden.securefile import WriteError

if TYPE_CHECKING:
    from pathlib import Path


def _made(home: Path) -> Identities:
    return load_or_create_identity({"HOME": str(home)}, create=STORES)[0]


def test_identities_lie_in_the_users_configuration(tmp_path: Path) -> None:
    assert identity_folder({"HOME": str(tmp_path)}) == tmp_path / ".config/kharden"


def test_the_variable_names_another_place(tmp_path: Path) -> None:
    assert identity_folder({"HOME": "/root", "KHARDEN_IDENTITY": str(tmp_path / "mine")}) == tmp_path / "mine"


def test_first_use_makes_one_private_file_for_each_store(tmp_path: Path) -> None:
    folder = tmp_path / ".config/kharden"
    identities, made = load_or_create_identity({"HOME": str(tmp_path)}, create=STORES)
    assert made == tuple(folder / f"{store}.txt" for store in STORES)
    assert sorted(path.name for path in folder.iterdir()) == ["data.txt", "leaves.txt", "roots.txt"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}
    assert len({recipient for own in identities.recipients.values() for recipient in own}) == 3


def test_second_use_makes_none(tmp_path: Path) -> None:
    first = _made(tmp_path)
    second, made = load_or_create_identity({"HOME": str(tmp_path)}, create=STORES)
    assert made == ()
    assert second.recipients == first.recipients


def test_of_many_first_uses_one_wins(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: _made(tmp_path), range(16)))
    on_disk = load_or_create_identity({"HOME": str(tmp_path)})[0]
    assert all(identities.recipients == on_disk.recipients for identities in found)
    assert len(list((tmp_path / ".config/kharden").iterdir())) == 3


def test_nothing_is_made_unasked(tmp_path: Path) -> None:
    identities, made = load_or_create_identity({"HOME": str(tmp_path)})
    assert made == ()
    assert identities.keys == ()
    assert list(tmp_path.iterdir()) == []


def test_a_machine_may_have_the_identities_of_some_stores_only(tmp_path: Path) -> None:
    whole = _made(tmp_path)
    (tmp_path / ".config/kharden/roots.txt").unlink()
    part, _ = load_or_create_identity({"HOME": str(tmp_path)})
    assert unseal(seal(b"leaf", whole.recipients["leaves"]), part, where=tmp_path) == b"leaf"
    with pytest.raises(MissingError):
        unseal(seal(b"root", whole.recipients["roots"]), part, where=tmp_path)


def test_one_file_serves_all_stores(tmp_path: Path) -> None:
    environ = {"KHARDEN_IDENTITY": str(tmp_path / "mine.txt")}
    identities, made = load_or_create_identity(environ, create=STORES)
    assert made == (tmp_path / "mine.txt",)
    assert len(set(identities.recipients.values())) == 1
    again, made = load_or_create_identity(environ, create=STORES)
    assert (again.recipients, made) == (identities.recipients, ())


def test_a_named_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"gone\.txt"):
        load_or_create_identity({"KHARDEN_IDENTITY": str(tmp_path / "gone.txt")})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_an_identity_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    _made(tmp_path)
    path = tmp_path / ".config/kharden/leaves.txt"
    path.chmod(mode)
    with pytest.raises(RefusedError, match=r"chmod 600 .*leaves\.txt"):
        load_or_create_identity({"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    "content", [b"", b"# nothing\n", b"AGE-SECRET-KEY-1TRUNCATED\n", b"\xff\xfe", b"ssh-rsa AAAA\n"]
)
def test_what_is_no_identity_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InputError, match=r"mine\.txt") as caught:
        load_or_create_identity({"KHARDEN_IDENTITY": str(path)})
    assert "TRUNCATED" not in str(caught.value)
    assert "AAAA" not in str(caught.value)


def test_a_place_that_cant_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError):
        load_or_create_identity({"HOME": str(tmp_path / "file")}, create=STORES)


def test_no_key_in_a_repr(tmp_path: Path) -> None:
    identities = _made(tmp_path)
    assert "AGE-SECRET-KEY" not in repr(identities) + str(identities)


def test_each_recipient_can_open(tmp_path: Path) -> None:
    mine, other = _made(tmp_path / "a"), _made(tmp_path / "b")
    ciphertext = seal(b"text", [*mine.recipients["roots"], *other.recipients["roots"]])
    assert unseal(ciphertext, mine, where=tmp_path) == unseal(ciphertext, other, where=tmp_path) == b"text"
    assert b"text" not in ciphertext


def test_a_stranger_cant_open(tmp_path: Path) -> None:
    ciphertext = seal(b"text", _made(tmp_path / "a").recipients["roots"])
    with pytest.raises(MissingError, match="no identity of this machine"):
        unseal(ciphertext, _made(tmp_path / "b"), where=tmp_path / "roots.age")
    with pytest.raises(MissingError, match="no identity on this machine"):
        unseal(ciphertext, Identities((), {}), where=tmp_path / "roots.age")


def test_nobody_to_seal_for_is_an_error() -> None:
    with pytest.raises(InputError):
        seal(b"text", [])


def test_a_recipient_with_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    good = _made(tmp_path).recipients["roots"][0]
    bad = good[:-1] + ("q" if good[-1] != "q" else "p")
    with pytest.raises(InputError, match=bad):
        seal(b"text", [bad])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_store_gives_no_plaintext(tmp_path: Path, *, position: float, flip: int, cut: bool) -> None:
    identities = _made(tmp_path)
    # More than one chunk of 64 KiB: a whole first chunk must not come out of a file whose second is broken.
    ciphertext = seal(b"x" * 70000, identities.recipients["data"])
    at = int(position * len(ciphertext))
    damaged = ciphertext[:at] if cut else ciphertext[:at] + bytes([ciphertext[at] ^ flip]) + ciphertext[at + 1 :]
    with pytest.raises((IntegrityError, MissingError)):
        unseal(damaged, identities, where=tmp_path)


def test_damage_is_told_from_a_wrong_identity(tmp_path: Path) -> None:
    identities = _made(tmp_path)
    with pytest.raises(IntegrityError, match=r"data\.age: damaged"):
        unseal(seal(b"text", identities.recipients["data"])[:-1], identities, where=tmp_path / "data.age")


def test_the_fingerprint_tells_sets_apart_and_nothing_else() -> None:
    assert fingerprint(["a", "b"]) == fingerprint(["b", "a", "a"])
    assert fingerprint(["a", "b"]) != fingerprint(["ab"]) != fingerprint([])
