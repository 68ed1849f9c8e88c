"""sshd's effective settings, for every user that was asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.observe.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import SshdNobodyElse, SshdRootLogin, SshdSetting, SshdWithin
    from kharden.observe.examine.view import View

# How sshd itself writes "prohibit-password", by either version of its name.
_WITH_A_KEY = ("without-password", "prohibit-password")


def setting(check: SshdSetting, view: View) -> Iterator[Finding]:
    """One value."""
    for user, value in _values(check.name, view):
        yield Finding(f"{check.name} {check.value}, for {user}", value, value == check.value)


def within(check: SshdWithin, view: View) -> Iterator[Finding]:
    """A list without weak items."""
    for user, value in _values(check.name, view):
        weak = [item for item in value.split(",") if item not in check.items]
        yield Finding(f"{check.name} all strong, for {user}", ", ".join(weak) or "all strong", not weak)


def nobody_else(_: SshdNobodyElse, view: View) -> Iterator[Finding]:
    """No block for others that opens another way in."""
    found = view.facts.at("sshd_keyless").texts()
    yield Finding("no Match block lets in without a key", "; ".join(found) or "none", not found)


def root_login(_: SshdRootLogin, view: View) -> Iterator[Finding]:
    """With a key, or not at all."""
    allowed = ("no",) if view.node.ssh.becomes else (*_WITH_A_KEY, "no")
    for user, value in _values("permitrootlogin", view):
        yield Finding(f"permitrootlogin {allowed[0]}, for {user}", value, value in allowed)


def _values(name: str, view: View) -> Iterator[tuple[str, str]]:
    for user in dict.fromkeys(("root", view.node.ssh.user)):
        yield user, view.facts.at("sshd", user, name).text()
