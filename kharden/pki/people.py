"""Short certificates for people: break-glass, from an authority that serves nothing else."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from kharden.certificates.facts import parse_one
from kharden.errors import InputError
from kharden.pki.issue import BACKDATE, Profile, issue

if TYPE_CHECKING:
    from datetime import datetime

    from kharden.pki.contents import Roots
    from kharden.pki.material import KeyedCertificate

MAX_LIFETIME = timedelta(hours=1)
# Printable ASCII; RFC 5280 allows 64 characters for a common name and for an organization.
_NAME = re.compile(r"[!-~]([ -~]{0,62}[!-~])?")
# Kubernetes keeps these for itself: nodes, components, and system:masters, which no rule ever refuses anything.
_RESERVED = "system:"


def issue_person(
    roots: Roots, user: str, groups: tuple[str, ...], now: datetime, lifetime: timedelta = MAX_LIFETIME
) -> KeyedCertificate:
    """A client certificate for a person; the whole of its life, with what lies before `now`, is an hour at most.

    Raises:
        InputError: the name or a group is reserved or can't be written in a certificate, or the lifetime is too long.
        RefusedError: the people's authority has expired.
    """
    for name in (user, *groups):
        _check_name(name)
    if not timedelta(0) < lifetime <= MAX_LIFETIME:
        raise InputError(f"{user}: a certificate for {lifetime} is not given", remedy="ask for an hour or less")
    authority = roots.authorities["people-ca"]
    start = now - BACKDATE
    end = min(now + lifetime, start + MAX_LIFETIME)
    algorithm = parse_one(authority.certificate, what="people-ca").algorithm
    return issue(Profile(user, groups, ("client auth",)), authority, algorithm, start, end)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!a}: not a name of a user or group", remedy="use 1 to 64 printable ASCII characters")
    if name.startswith(_RESERVED):
        raise InputError(f"{name}: reserved for Kubernetes itself", remedy=f"choose a name without {_RESERVED}")
