"""When a leaf has to be issued again, and what is to be said of an authority: pure judgements."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from kharden.certificates.facts import parse_one
from kharden.pki.issue import BACKDATE, key_usages, profile
from kharden.pki.tree import AUTHORITIES, SUPPLIED

if TYPE_CHECKING:
    from datetime import datetime

    from kharden.certificates.facts import CertificateFacts
    from kharden.pki.contents import Trust
    from kharden.pki.issue import Profile
    from kharden.pki.material import KeyedCertificate
    from kharden.pki.tree import LeafRow
    from kharden.plan.model import ClusterPlan, NodePlan


def why_due(  # noqa: PLR0913  # what a certificate follows from
    row: LeafRow, pair: KeyedCertificate | None, issuer: bytes, plan: ClusterPlan, node: NodePlan, *, now: datetime
) -> str | None:
    """Why the leaf of `row` and `node` has to be issued, or None where the one there is good.

    Args:
        row: its row of the table.
        pair: what is there; None: nothing.
        issuer: certificate of its authority, PEM.
        plan: what it shall be like.
        node: whose it is.
        now: the time; a leaf in the last third of its life is due, unless its authority ends with it anyway.
    """
    if pair is None:
        return "new"
    facts = parse_one(pair.certificate, what=f"{node.name}/{row.name}")
    reason = _other_content(facts, profile(row, plan, node))
    if reason:
        return reason
    if facts.algorithm != plan.pki.algorithm or facts.key_usages != key_usages(plan.pki.algorithm):
        return f"{facts.algorithm} instead of {plan.pki.algorithm}"
    if facts.not_after - facts.not_before > timedelta(days=plan.pki.leaf_days) + BACKDATE:
        return "its life is longer than the spec allows"
    if _in_last_third(facts, now) and parse_one(issuer, what=row.issuer).not_after > facts.not_after:
        return "in the last third of its life"
    return None


def authority_notes(trust: Trust, plan: ClusterPlan, now: datetime) -> tuple[str, ...]:
    """What a person should know of the authorities; they are never replaced on the way."""
    notes = []
    for row in AUTHORITIES:
        facts = parse_one(trust.authorities[row.name], what=row.name)
        if now >= facts.not_after:
            notes.append(f"{row.name} expired on {facts.not_after:%Y-%m-%d}: it has to be rotated")
        elif _in_last_third(facts, now):
            notes.append(f"{row.name} ends on {facts.not_after:%Y-%m-%d}: plan its rotation")
        if now < facts.not_before:
            notes.append(f"{row.name} is good only from {facts.not_before:%Y-%m-%d}: look at the clock")
        supplied = row.name == SUPPLIED and plan.pki.authority is not None
        if facts.algorithm != plan.pki.algorithm and not supplied:
            notes.append(f"{row.name} keeps its {facts.algorithm} key until it is rotated")
    return tuple(notes)


def _in_last_third(facts: CertificateFacts, now: datetime) -> bool:
    return now >= facts.not_after - (facts.not_after - facts.not_before) / 3


def _other_content(facts: CertificateFacts, wanted: Profile) -> str | None:
    found, names = {*facts.dns, *map(str, facts.addresses)}, {*wanted.sans.dns, *map(str, wanted.sans.ip)}
    if names - found:
        return f"it lacked {', '.join(sorted(names - found))}"
    if found - names or facts.other_names:
        return f"it had {', '.join(sorted({*(found - names), *facts.other_names}))} too many"
    if (facts.common_name, facts.organizations) != (wanted.common_name, wanted.organizations):
        return "it had another subject"
    if facts.extended_usages != frozenset(wanted.usages):
        return "it had other usages"
    return None
