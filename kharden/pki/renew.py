"""Secrets that exist: read, held against each other, and issued again where that is due."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kharden.errors import IntegrityError
from kharden.pki import public
from kharden.pki.contents import Leaves, Roots, RootsDoor, Secrets, authority_digest, check_same_make
from kharden.pki.create import first_recipients, named_recipients
from kharden.pki.due import authority_notes, why_due
from kharden.pki.issue import issue_leaf
from kharden.pki.stores import read_store, store_path, stores_present, write_store
from kharden.pki.supplied import check_unchanged
from kharden.pki.tree import SUPER_ADMIN, SUPPLIED, leaves_of
from kharden.pki.written import dump_data, dump_leaves, dump_roots, load_data, load_leaves, load_roots
from kharden.securefile import write_if_changed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from kharden.pki.material import KeyedCertificate
    from kharden.plan.model import ClusterPlan
    from kharden.seal import Identities, Store

    # Reasons by node and leaf.
    Due = Mapping[tuple[str, str], str]

# So many certificates are named one by one in a note.
_NAMED = 4


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The stores of a cluster, and who opens them."""

    plan: ClusterPlan
    folder: Path
    identities: Identities

    def path(self, store: Store) -> Path:
        return store_path(self.folder, store)

    def secrets(self) -> Secrets:
        """What the stores hold now, the roots still closed; leaves that are gone are read as none."""
        data = load_data(read_store(self.folder, "data", self.identities), self.plan.name, self.path("data"))
        if "leaves" in stores_present(self.folder):
            plaintext = read_store(self.folder, "leaves", self.identities)
            leaves = load_leaves(plaintext, self.plan.name, self.path("leaves"))
        else:
            recipients = first_recipients(self.plan, self.folder, "leaves", self.identities)
            leaves = Leaves(self._roots().trust, {}, recipients)
        if data.authority != authority_digest(leaves.trust):
            raise IntegrityError(
                f"{self.path('data')}: its keys are for another cluster than the stores beside it",
                remedy="restore all three together",
            )
        return Secrets(RootsDoor(lambda: self._roots(leaves)), leaves, data)

    def _roots(self, leaves: Leaves | None = None) -> Roots:
        roots = load_roots(read_store(self.folder, "roots", self.identities), self.plan.name, self.path("roots"))
        if leaves:
            check_same_make(roots, leaves, self.path("leaves"))
        return roots

    def write(self, old: Secrets, new: Secrets) -> Iterator[str]:
        """Write what differs and tell of it: the same plaintext leaves the ciphertext alone, git sees no change.

        The leaves are last: they tell for whom the roots are sealed, and after a cut the next run looks at those again.
        """
        name = self.plan.name
        if new.roots.opened:
            roots = (old.roots.open(), new.roots.open())
            yield from self._write("roots", dump_roots(roots[0], name), dump_roots(roots[1], name), old, new)
        yield from self._write("data", dump_data(old.data, name), dump_data(new.data, name), old, new)
        yield from self._write("leaves", dump_leaves(old.leaves, name), dump_leaves(new.leaves, name), old, new)
        if write_if_changed(self.folder / public.FILE, public.dump(new.leaves.trust)):
            yield f"wrote {self.folder / public.FILE}: it was not what the stores say"

    def _write(self, store: Store, before: bytes, after: bytes, old: Secrets, new: Secrets) -> Iterator[str]:
        recipients = new.recipients[store]
        if before != after or not self.path(store).exists():
            write_store(self.folder, store, after, recipients)
        if recipients != old.recipients[store]:
            yield f"sealed {self.path(store)} for other recipients: {', '.join(recipients)}"


def renew(plan: ClusterPlan, folder: Path, identities: Identities, now: datetime) -> tuple[Secrets, tuple[str, ...]]:
    """The secrets in `folder`, made fit for `plan`, and what to say of what was done.

    Raises:
        RefusedError: an authority that has expired would have to issue something, or the spec names another one.
        MissingError: no identity opens a store that is needed.
        IntegrityError: a store is damaged, another cluster's, or its keys and certificates don't fit.
        WriteError: a store can't be written; the old one is whole.
    """
    shelf = _Shelf(plan, folder, identities)
    old = shelf.secrets()
    if plan.pki.authority:
        check_unchanged(plan.pki.authority, folder.parent, old.leaves.trust.authorities[SUPPLIED])
    due = _due(plan, old.leaves, now)
    new = _fit(plan, old, due, now)
    written = tuple(shelf.write(old, new))
    opened = (f"opened {shelf.path('roots')}",) if new.roots.opened else ()
    notes = (*opened, *_issue_notes(due), *_drop_notes(old.leaves, new.leaves), *written)
    return new, (*notes, *authority_notes(new.leaves.trust, plan, now))


def _due(plan: ClusterPlan, leaves: Leaves, now: datetime) -> Due:
    due = {}
    for node in plan.nodes:
        own = leaves.nodes.get(node.name, {})
        for row in leaves_of(node):
            issuer = leaves.trust.authorities[row.issuer]
            reason = why_due(row, own.get(row.name), issuer, plan, node, now=now)
            if reason:
                due[node.name, row.name] = reason
    return due


def _fit(plan: ClusterPlan, old: Secrets, due: Due, now: datetime) -> Secrets:
    """What the secrets shall be; the roots are opened for issuing and for being sealed anew, else not."""
    door, trust = old.roots, old.leaves.trust
    if due or named_recipients(plan, "roots") not in {(), trust.roots_recipients}:
        roots = _fit_roots(plan, old.roots.open(), now)
        door, trust = RootsDoor.opened_with(roots), roots.trust
    leaves = Leaves(
        trust,
        _issued(plan, old.leaves, due, door, now),
        named_recipients(plan, "leaves") or old.leaves.recipients,
    )
    data = replace(old.data, recipients=named_recipients(plan, "data") or old.data.recipients)
    return Secrets(door, leaves, data)


def _fit_roots(plan: ClusterPlan, roots: Roots, now: datetime) -> Roots:
    authority, node = roots.authorities["ca"], plan.control_planes[0]
    super_admin = roots.super_admin
    if why_due(SUPER_ADMIN, super_admin, authority.certificate, plan, node, now=now):
        super_admin = issue_leaf(SUPER_ADMIN, authority, plan, node, now)
    return replace(roots, super_admin=super_admin, recipients=named_recipients(plan, "roots") or roots.recipients)


def _issued(
    plan: ClusterPlan, leaves: Leaves, due: Due, door: RootsDoor, now: datetime
) -> dict[str, dict[str, KeyedCertificate]]:
    """The leaves of the plan's nodes alone: those of nodes that are gone go with them."""
    return {
        node.name: {
            row.name: issue_leaf(row, door.open().authorities[row.issuer], plan, node, now)
            if (node.name, row.name) in due
            else leaves.nodes[node.name][row.name]
            for row in rows
        }
        for node in plan.nodes
        if (rows := leaves_of(node))
    }


def _issue_notes(due: Due) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for (node, leaf), reason in due.items():
        by_reason.setdefault(reason, []).append(f"{node}/{leaf}")
    for reason, names in by_reason.items():
        yield f"issued {', '.join(names) if len(names) <= _NAMED else f'{len(names)} certificates'}: {reason}"


def _drop_notes(old: Leaves, new: Leaves) -> Iterator[str]:
    for node in sorted(set(old.nodes) - set(new.nodes)):
        yield f"dropped the certificates of {node}: it is neither control plane nor member of etcd any more"
