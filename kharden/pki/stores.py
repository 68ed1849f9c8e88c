"""The three stores on the disk: `roots.age`, `leaves.age` and `data.age` in a cluster's folder of secrets."""

from __future__ import annotations

import secrets
import shutil
from typing import TYPE_CHECKING

from kharden.errors import MissingError, RefusedError
from kharden.pki import public as public_parts
from kharden.seal import STORES, seal, unseal
from kharden.securefile import WriteError, make_folder, settle, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from kharden.seal import Identities, Store


def store_path(folder: Path, store: Store) -> Path:
    """Where a store lies."""
    return folder / f"{store}.age"


def stores_present(folder: Path) -> frozenset[Store]:
    """Which stores lie in `folder`; a broken link counts, so that it is never taken for a cluster without stores."""
    return frozenset(
        store for store in STORES if store_path(folder, store).is_symlink() or store_path(folder, store).exists()
    )


def read_store(folder: Path, store: Store, identities: Identities) -> bytes:
    """The plaintext of a store.

    Raises:
        MissingError: it can't be read, or no identity opens it.
        IntegrityError: it is damaged.
    """
    path = store_path(folder, store)
    try:
        ciphertext = path.read_bytes()
    except OSError as error:
        raise MissingError(f"{path}: can't read it ({error.strerror})", remedy="restore it, or mend its mode") from None
    return unseal(ciphertext, identities, where=path)


def write_store(folder: Path, store: Store, plaintext: bytes, recipients: Iterable[str]) -> None:
    """Seal a store and put it in the place of the old one."""
    write(store_path(folder, store), seal(plaintext, recipients))


def create_stores(folder: Path, stores: Mapping[Store, tuple[bytes, tuple[str, ...]]], public: bytes) -> None:
    """Write all stores (plaintext and recipients by name) and what is public of them, together or not at all.

    A folder is filled beside its place and moved there: stores of which some are missing are then always a loss, never
    an interrupted start, and of two that start at once the second is refused.

    Raises:
        RefusedError: `folder` holds something already.
        WriteError: the disk is full, read-only or not ours.
    """
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        make_folder(draft)
        for store, (plaintext, recipients) in stores.items():
            write_store(draft, store, plaintext, recipients)
        write(draft / public_parts.FILE, public)
        settle(draft)
        _move(draft, folder)
        # What is applied to nodes must not outlive the stores.
        settle(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _move(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError as error:
        if folder.exists() or folder.is_symlink():
            raise RefusedError(
                f"{folder}: holds other things than the stores", remedy="move them away, or restore the stores"
            ) from None
        raise WriteError(f"{folder}: can't make it ({error.strerror})", remedy="look at its parent") from None
