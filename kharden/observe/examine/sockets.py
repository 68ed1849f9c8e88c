"""Listening sockets against the named list."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from kharden.controls import FromPlan
from kharden.observe.examine.view import resolve
from kharden.observe.facts import Unobserved
from kharden.observe.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import Listener, ListeningSockets
    from kharden.observe.examine.view import View
    from kharden.observe.facts import Facts


@dataclass(frozen=True, slots=True)
class _Socket:
    protocol: str
    address: str
    port: int
    programs: frozenset[str]

    def __str__(self) -> str:
        return f"{'+'.join(sorted(self.programs)) or 'nobody'} on {self.protocol} {self.address} {self.port}"


def listening(check: ListeningSockets, view: View) -> Iterator[Finding]:
    """No socket but the named ones, and each of those that is needed."""
    found = [entry for entry in map(_socket, view.facts.at("sockets").entries()) if _scope(entry) == check.scope]
    strangers = [entry for entry in found if not any(_fits(entry, named, view) for named in check.listeners)]
    unexpected = [str(entry) for entry in strangers if not (check.scope == "node" and _of_network(entry, view))]
    needed = [named for named in check.listeners if named.needed]
    missing = [_name(named, view) for named in needed if not any(_fits(entry, named, view) for entry in found)]
    expected = ", ".join(_name(named, view) for named in needed)
    wrong = [f"unexpected: {', '.join(unexpected)}"] if unexpected else []
    wrong += [f"missing: {', '.join(missing)}"] if missing else []
    yield Finding(f"only {expected}", "; ".join(wrong) or f"{len(found)} sockets, all of them named", not wrong)


def _socket(entry: Facts) -> _Socket:
    return _Socket(
        entry.at("protocol").text(),
        entry.at("address").text(),
        entry.at("port").number(),
        frozenset(entry.at("programs").texts()),
    )


def _scope(entry: _Socket) -> str:
    try:
        address = ip_address(entry.address)
    except ValueError:
        raise Unobserved(f"{entry.address!r} is no address") from None
    mapped = getattr(address, "ipv4_mapped", None) or address
    return "loopback" if mapped.is_loopback else "node"


def _fits(entry: _Socket, named: Listener, view: View) -> bool:
    port = _port(named, view)
    return (
        entry.protocol == named.protocol
        and port in (None, entry.port)
        and bool(entry.programs)
        and entry.programs <= set(named.programs)
    )


def _of_network(entry: _Socket, view: View) -> bool:
    """Whether the network plugin was said to need it; who holds it is the plugin's own, and may be the kernel."""
    return (entry.protocol, entry.port) in {(one.protocol, one.port) for one in view.plan.network.ports}


def _port(named: Listener, view: View) -> int | None:
    return int(resolve(named.port, view)) if isinstance(named.port, FromPlan) else named.port


def _name(named: Listener, view: View) -> str:
    return f"{named.programs[0]} {named.protocol} {_port(named, view)}"
