"""Load or create the secrets of a cluster: nothing there is replaced, but leaves whose time or content asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.errors import MissingError, RefusedError
from kharden.pki.contents import Secrets
from kharden.pki.create import create, named_recipients
from kharden.pki.renew import renew
from kharden.pki.stores import store_path, stores_present
from kharden.seal import STORES

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from kharden.plan.model import ClusterPlan
    from kharden.seal import Identities, Store

__all__ = ["Secrets", "identities_to_make", "load_or_create"]


def identities_to_make(plan: ClusterPlan, folder: Path) -> tuple[Store, ...]:
    """The stores for which this machine needs an identity of its own: new ones that the spec names nobody for."""
    return () if stores_present(folder) else tuple(store for store in STORES if not named_recipients(plan, store))


def load_or_create(
    plan: ClusterPlan, folder: Path, identities: Identities, now: datetime, *, alive: bool = False
) -> tuple[Secrets, tuple[str, ...]]:
    """The secrets of `plan`, and what a person should know of what was done.

    Args:
        plan: the cluster.
        folder: where its stores lie, `inventories/<cluster>/secrets`; what the spec names lies beside that folder.
        identities: those of this machine; that of the roots is needed only where something must be issued.
        now: the time, with its zone.
        alive: whether the cluster has been built before, so that missing stores are a loss and not a start.

    Raises:
        RefusedError: the stores of a cluster that was built are gone; or an expired authority would have to issue; or
            the spec names another authority than the cluster's.
        InputError: the authority that the spec names can't be a cluster's.
        MissingError: some of the stores are gone, or no identity opens one.
        IntegrityError: a store is damaged, another cluster's, or its keys and certificates don't fit.
        WriteError: a store can't be written; the old one is whole.
    """
    present = stores_present(folder)
    if present:
        _refuse_losses(folder, present)
        return renew(plan, folder, identities, now)
    if alive:
        raise RefusedError(
            f"{folder}: the stores are gone, but {plan.name} has been built",
            remedy="restore them from version control or a backup; new keys would not fit the living cluster",
        )
    return create(plan, folder, identities, now)


def _refuse_losses(folder: Path, present: frozenset[Store]) -> None:
    """Leaves can be issued again. Neither an authority's key nor the keys of what lies in etcd can."""
    lost = [str(store_path(folder, store)) for store in STORES if store not in present and store != "leaves"]
    if lost:
        raise MissingError(
            f"{', '.join(lost)}: gone, while other stores are there",
            remedy="restore it from version control or a backup; what was in it can't be made again",
        )
