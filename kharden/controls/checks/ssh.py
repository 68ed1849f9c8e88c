"""The kinds of checks of sshd: its effective settings, as `sshd -T` tells them (sshd(8)).

They are asked for root and for who logs in, as kharden itself comes, since a Match block may give each user, address
and port other ones.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SshdSetting:
    """The setting has this value for every user that is asked about."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SshdWithin:
    """The setting's comma-separated value is not empty and has no item but these."""

    name: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SshdNobodyElse:
    """No `Match` block lets anybody in without a key, also not those who aren't asked about."""


@dataclass(frozen=True, slots=True)
class SshdRootLogin:
    """Root logs in with a key alone where the plan has kharden log in as root, else not at all."""
