"""Sealing with age: the only module that imports pyrage.

A store is sealed for recipients (public) and opened with identities (private). Identities lie outside the repository,
one file for each store, so that a machine can be given those of leaves and data without that of roots.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyrage  # type: ignore[import-untyped]  # it ships no types; every call to it is in this module
from pyrage import x25519

from kharden.errors import InputError, IntegrityError, MissingError, RefusedError
from kharden.securefile import WriteError, make_folder, settle, write

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

Store = Literal["roots", "leaves", "data"]
STORES: tuple[Store, ...] = ("roots", "leaves", "data")
VARIABLE = "KHARDEN_IDENTITY"

# A file of identities is a few lines; whatever is larger is something else.
_MAX_FILE = 65536
# pyrage has one exception for all that can go wrong; this is its wording where no identity fits (a test holds it).
_NO_MATCH = "No matching keys found"


@dataclass(frozen=True, slots=True)
class Identities:
    """What this machine can open, and for whom it seals where the spec names no recipients.

    Attributes:
        recipients: for each store the public halves of the identities made for it.
    """

    keys: tuple[x25519.Identity, ...] = field(repr=False)
    recipients: Mapping[Store, tuple[str, ...]]

    def of(self, store: Store) -> Identities:
        """Those that were made for one store; what is meant for it alone is opened with no other."""
        own = self.recipients.get(store, ())
        return Identities(tuple(key for key in self.keys if str(key.to_public()) in own), {store: own})


def identity_folder(environ: Mapping[str, str]) -> Path:
    """Where identities lie: what $KHARDEN_IDENTITY names (a file or a folder), else ~/.config/kharden."""
    chosen = environ.get(VARIABLE, "")
    if chosen:
        return Path(chosen).absolute()
    return Path(environ.get("HOME") or Path.home()) / ".config/kharden"


def load_or_create_identity(
    environ: Mapping[str, str], *, create: Collection[Store] = ()
) -> tuple[Identities, tuple[Path, ...]]:
    """The identities of this machine, and the files that had to be made for them.

    A folder holds `roots.txt`, `leaves.txt` and `data.txt`, each for its store; a single file serves all stores.

    Args:
        environ: the environment, for $KHARDEN_IDENTITY and $HOME.
        create: stores for which an identity is made where there is none. Leave it empty where the stores exist: a new
            identity opens nothing old, it would only hide that the right one is missing.

    Raises:
        RefusedError: a file is readable by group or others.
        InputError: a file holds something else than identities.
        MissingError: $KHARDEN_IDENTITY names what is not there, and nothing is to be made.
    """
    place = identity_folder(environ)
    if environ.get(VARIABLE) and not place.is_dir():
        return _from_file(place, create=bool(create))
    files: dict[Store, Path] = {store: place / f"{store}.txt" for store in STORES}
    made = tuple(path for store, path in files.items() if store in create and _create(path))
    found = {store: _read(path) for store, path in files.items() if path.exists()}
    keys = tuple(key for own in found.values() for key in own)
    return Identities(keys, {store: _public(own) for store, own in found.items()}), made


def seal(plaintext: bytes, recipients: Iterable[str]) -> bytes:
    """`plaintext` as an age file that each of `recipients` can open.

    Raises:
        InputError: there is no recipient, or one is no age recipient.
    """
    names = sorted(set(recipients))
    if not names:
        raise InputError("there is nobody to seal a store for", remedy="name recipients in spec.secrets.recipients")
    keys = []
    for name in names:
        try:
            keys.append(x25519.Recipient.from_str(name))
        except pyrage.RecipientError:
            raise InputError(f"{name}: not an age recipient", remedy="write it as age-keygen prints it") from None
    return bytes(pyrage.encrypt(plaintext, keys))


def unseal(ciphertext: bytes, identities: Identities, *, where: Path) -> bytes:
    """The whole plaintext of an age file, or none of it; `where` it lies is for the message.

    Raises:
        MissingError: no identity of this machine opens it.
        IntegrityError: it is damaged.
    """
    remedy = f"point {VARIABLE} to the identity that it was sealed for"
    if not identities.keys:
        raise MissingError(f"{where}: there is no identity on this machine to open it", remedy=remedy)
    try:
        return bytes(pyrage.decrypt(ciphertext, list(identities.keys)))
    except pyrage.DecryptError as error:
        if str(error) == _NO_MATCH:
            raise MissingError(f"{where}: no identity of this machine opens it", remedy=remedy) from None
        raise IntegrityError(
            f"{where}: damaged, nothing of it is used", remedy="restore it from version control or a backup"
        ) from None


def fingerprint(recipients: Iterable[str]) -> str:
    """A hex digest of a set of recipients, the same in any order: tells when a file must be sealed again."""
    return hashlib.sha256("\n".join(sorted(set(recipients))).encode()).hexdigest()


def _from_file(path: Path, *, create: bool) -> tuple[Identities, tuple[Path, ...]]:
    made = (path,) if create and _create(path) else ()
    if not path.exists():
        raise MissingError(
            f"{path}: {VARIABLE} names it, but it is not there", remedy="restore it from your backup of identities"
        )
    keys = _read(path)
    return Identities(keys, dict.fromkeys(STORES, _public(keys))), made


def _public(keys: Iterable[x25519.Identity]) -> tuple[str, ...]:
    return tuple(sorted(str(key.to_public()) for key in keys))


def _create(path: Path) -> bool:
    """Make an identity in `path` unless something lies there; True if it was made."""
    if path.is_symlink() or path.exists():
        return False
    key = x25519.Identity.generate()
    text = (
        "# An identity of kharden: it opens sealed stores. Keep a copy where this machine's loss can't reach it.\n"
        f"# public key: {key.to_public()}\n{key}\n"
    )
    make_folder(path.parent, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    write(temporary, text.encode(), mode=0o600)
    try:
        # Unlike a rename, a link never replaces: of two that come first together one wins, and both then read it.
        os.link(temporary, path)
        settle(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise WriteError(f"{path}: can't write ({error.strerror})", remedy=f"point {VARIABLE} elsewhere") from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    return True


def _read(path: Path) -> tuple[x25519.Identity, ...]:
    lines = _private_text(path).splitlines()
    keys = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            keys.append(x25519.Identity.from_str(line.strip()))
        except pyrage.IdentityError:
            raise InputError(
                f"{path}:{number}: not an identity", remedy="expected are lines of AGE-SECRET-KEY-1 and comments"
            ) from None
    if not keys:
        raise InputError(f"{path}: holds no identity", remedy="restore it from your backup of identities")
    return tuple(keys)


def _private_text(path: Path) -> str:
    """A file's text, after a look at who else may read it; the look and the reading are at the same open file."""
    try:
        with path.open("rb") as stream:
            state = os.fstat(stream.fileno())
            if stat.S_ISREG(state.st_mode) and state.st_mode & 0o077:
                raise RefusedError(f"{path}: others can read this identity", remedy=f"run chmod 600 {path}")
            return stream.read(_MAX_FILE).decode("ascii")
    except OSError as error:
        raise MissingError(f"{path}: can't read it ({error.strerror})", remedy="look at its owner and mode") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a file of identities", remedy=f"point {VARIABLE} to one") from None
