from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from kharden.certificates.facts import key_matches, parse_one, signed_by
from kharden.errors import InputError, RefusedError
from kharden.pki.bundle import load_or_create
from kharden.pki.people import issue_person

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.pki.contents import Roots
    from kharden.seal import Identities
    from tests.unit.pki.conftest import MakePlan


@pytest.fixture
def roots(make_plan: MakePlan, folder: Path, identities: Identities, now: datetime) -> Roots:
    return load_or_create(make_plan(authority_days=30), folder, identities, now)[0].roots.open()


def test_a_person_is_named_with_their_groups_for_clients_only(roots: Roots, now: datetime) -> None:
    pair = issue_person(roots, "jane@example.org", ("auditors", "on call"), now, timedelta(minutes=20))
    facts = parse_one(pair.certificate, what="jane")
    assert (facts.common_name, facts.organizations) == ("jane@example.org", ("auditors", "on call"))
    assert (facts.extended_usages, facts.dns, facts.is_ca) == (frozenset({"client auth"}), (), False)
    assert facts.not_after == now + timedelta(minutes=20)
    assert key_matches(pair.certificate, pair.key, what="jane")
    assert signed_by(pair.certificate, roots.authorities["people-ca"].certificate, what="jane")
    assert not signed_by(pair.certificate, roots.authorities["ca"].certificate, what="jane")


def test_a_whole_life_is_an_hour_at_most(roots: Roots, now: datetime) -> None:
    facts = parse_one(issue_person(roots, "jane", (), now).certificate, what="jane")
    assert facts.not_after - facts.not_before <= timedelta(hours=1)
    assert facts.not_before <= now < facts.not_after


@pytest.mark.parametrize("lifetime", [timedelta(hours=1, seconds=1), timedelta(0), timedelta(minutes=-1)])
def test_another_lifetime_is_refused(roots: Roots, now: datetime, lifetime: timedelta) -> None:
    with pytest.raises(InputError, match="jane"):
        issue_person(roots, "jane", (), now, lifetime)


@pytest.mark.parametrize(
    "name", ["system:masters", "system:nodes", "system:", "", "a" * 65, " a", "a\n", "ä", "a\x00b"]
)
def test_reserved_and_unwritable_names_are_refused(roots: Roots, now: datetime, name: str) -> None:
    with pytest.raises(InputError):
        issue_person(roots, "jane", (name,), now)
    with pytest.raises(InputError):
        issue_person(roots, name, (), now)


def test_an_expired_authority_issues_nobody(roots: Roots, now: datetime) -> None:
    with pytest.raises(RefusedError, match="kharden-people-ca"):
        issue_person(roots, "jane", (), now + timedelta(days=31))
