"""The first secrets of a cluster."""

from __future__ import annotations

import secrets as randomness
from typing import TYPE_CHECKING

from kharden.errors import MissingError
from kharden.pki import public
from kharden.pki.contents import Data, Leaves, Roots, RootsDoor, Secrets, authority_digest
from kharden.pki.issue import issue_authority, issue_leaf, new_key, private_pem
from kharden.pki.material import EncryptionKey
from kharden.pki.stores import create_stores, store_path
from kharden.pki.supplied import take_over
from kharden.pki.tree import AUTHORITIES, SUPER_ADMIN, SUPPLIED, leaves_of
from kharden.pki.written import ENCRYPTION_KEY_BYTES, dump_data, dump_leaves, dump_roots
from kharden.seal import STORES

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from kharden.pki.material import KeyedCertificate
    from kharden.plan.model import ClusterPlan
    from kharden.seal import Identities, Store


def create(plan: ClusterPlan, folder: Path, identities: Identities, now: datetime) -> tuple[Secrets, tuple[str, ...]]:
    """New secrets, sealed in `folder` all at once, and what to say of it.

    Raises:
        MissingError: nobody is known to seal a store for, or the authority of the spec can't be opened here.
        InputError: the authority of the spec can't be the cluster's.
        IntegrityError: its key is not its certificate's.
        RefusedError: `folder` holds something, or a key lies beside it in the clear.
        WriteError: they can't be written; nothing is there then.
    """
    recipients = {store: first_recipients(plan, folder, store, identities) for store in STORES}
    own = plan.pki.authority
    supplied = take_over(own, plan, folder.parent, identities, now) if own else None
    roots = _roots(plan, now, recipients["roots"], supplied)
    nodes = {
        node.name: {row.name: issue_leaf(row, roots.authorities[row.issuer], plan, node, now) for row in rows}
        for node in plan.nodes
        if (rows := leaves_of(node))
    }
    leaves = Leaves(roots.trust, nodes, recipients["leaves"])
    keys = (EncryptionKey(randomness.token_bytes(ENCRYPTION_KEY_BYTES)),)
    data = Data(authority_digest(roots.trust), keys, recipients["data"])
    create_stores(
        folder,
        {
            "roots": (dump_roots(roots, plan.name), roots.recipients),
            "leaves": (dump_leaves(leaves, plan.name), leaves.recipients),
            "data": (dump_data(data, plan.name), data.recipients),
        },
        public.dump(roots.trust),
    )
    made = (
        f"made {len(AUTHORITIES) - bool(own)} authorities, a service account key, an encryption key and "
        f"{_counted(plan)}, sealed in {folder}"
    )
    taken = (f"took over the authority in {folder.parent / own.certificate}",) if own else ()
    return Secrets(RootsDoor.opened_with(roots), leaves, data), (*taken, made)


def _counted(plan: ClusterPlan) -> str:
    """How many certificates who has."""
    groups = (("control plane", plan.control_planes), ("machine of etcd", plan.etcd_machines))
    return " and ".join(
        f"{len(leaves_of(nodes[0]))} certificates for each {what} ({', '.join(node.name for node in nodes)})"
        for what, nodes in groups
        if nodes
    )


def named_recipients(plan: ClusterPlan, store: Store) -> tuple[str, ...]:
    """Whom the spec names for a store, in a fixed order; nobody: it has no opinion."""
    named = {"roots": plan.recipients.roots, "leaves": plan.recipients.leaves, "data": plan.recipients.data}
    return tuple(sorted(set(named[store])))


def first_recipients(plan: ClusterPlan, folder: Path, store: Store, identities: Identities) -> tuple[str, ...]:
    """For whom a new store is sealed: those whom the spec names, else this machine.

    Raises:
        MissingError: neither is there.
    """
    recipients = named_recipients(plan, store) or identities.recipients.get(store, ())
    if not recipients:
        raise MissingError(
            f"{store_path(folder, store)}: there is nobody to seal it for",
            remedy=f"name recipients in spec.secrets.recipients.{store}",
        )
    return recipients


def _roots(plan: ClusterPlan, now: datetime, recipients: tuple[str, ...], supplied: KeyedCertificate | None) -> Roots:
    authorities = {
        row.name: supplied if supplied and row.name == SUPPLIED else issue_authority(row, plan, now)
        for row in AUTHORITIES
    }
    super_admin = issue_leaf(SUPER_ADMIN, authorities["ca"], plan, plan.control_planes[0], now)
    return Roots(authorities, (private_pem(new_key(plan.pki.algorithm)),), super_admin, recipients)
