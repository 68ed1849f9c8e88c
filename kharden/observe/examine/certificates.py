"""Certificates, kubeconfigs and trusted CAs as they lie on a node."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from kharden.certificates.facts import CertificateFacts, parse, signed_by
from kharden.controls import FromPlan
from kharden.errors import IntegrityError
from kharden.observe.examine.view import resolve
from kharden.observe.facts import Unobserved
from kharden.observe.model import Finding
from kharden.plan.endpoints import API_PORT, Sans, api_server_sans, bracketed, etcd_sans, no_sans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from kharden.controls.checks import CertificateFile, DistinctAuthorities, KubeconfigFile, TrustFile
    from kharden.controls.checks.trust import Names
    from kharden.observe.examine.view import View
    from kharden.observe.facts import Facts
    from kharden.plan.model import ClusterPlan, NodePlan

# Leaves are renewed in the last third of their life: with less than half of that left, renewing has failed for long.
_RENEWAL_FAILED = 1 / 6
# An issuer may set the start back a little, for clocks that lag.
_BACKDATING = timedelta(days=1)


def _node_sans(_: ClusterPlan, node: NodePlan) -> Sans:
    return Sans((node.name,), node.addresses)


_NAMES: dict[Names, Callable[[ClusterPlan, NodePlan], Sans]] = {
    "none": no_sans,
    "api-server": api_server_sans,
    "etcd-member": etcd_sans,
    "node": _node_sans,
}


def leaf(check: CertificateFile, view: View) -> Iterator[Finding]:
    """Chain, names, usages, key and lifetime of one certificate."""
    own, *_ = pems(view.facts, check.path)
    facts = read(own, check.path)
    name = str(resolve(check.common_name, view)) if isinstance(check.common_name, FromPlan) else check.common_name
    authorities = pems(view.facts, check.authority)
    wrong = [
        *chain_problems(own, facts, authorities, check.authority),
        *([] if facts.common_name == name else [f"CN {facts.common_name}"]),
        *([] if facts.organizations == check.organizations else [f"O {', '.join(facts.organizations) or 'none'}"]),
        *([] if facts.extended_usages == set(check.usages) else [f"usages {', '.join(sorted(facts.extended_usages))}"]),
        *names_problems(facts, check.names, view),
        *_lifetime_problems(check, facts, view),
    ]
    if check.issued_by_plan and facts.algorithm != view.plan.pki.algorithm:
        wrong.append(f"key {facts.algorithm}")
    organizations = "".join(f", O {organization}" for organization in check.organizations)
    expected = f"{check.path}: CN {name}{organizations}, {', '.join(check.usages)}, names {check.names}, in time"
    yield Finding(expected, "; ".join(wrong) or f"so it is, until {facts.not_after:%Y-%m-%d}", not wrong)


def pems(facts: Facts, path: str) -> list[bytes]:
    """The certificates that a node has in a file; at least one.

    Raises:
        Unobserved: it has none there.
    """
    found = [text.encode() for text in facts.at("certificates", path).texts()]
    if not found:
        raise Unobserved(f"{facts.where}: {path} holds no certificate")
    return found


def read(pem: bytes, what: str) -> CertificateFacts:
    """What a certificate says.

    Raises:
        Unobserved: it can't be read.
    """
    try:
        return parse(pem, what=what)[0]
    except IntegrityError as error:
        raise Unobserved(error.message) from None


def chain_problems(own: bytes, facts: CertificateFacts, authorities: list[bytes], where: str) -> list[str]:
    """What is wrong with a certificate's issuer: it must be one of these, and live as long."""
    for authority in authorities:
        try:
            signed = signed_by(own, authority, what=where)
        except IntegrityError as error:
            raise Unobserved(error.message) from None
        if signed:
            return ["it outlives its CA"] if facts.not_after > read(authority, where).not_after else []
    return [f"not signed by a CA of {where}"]


def names_problems(facts: CertificateFacts, names: Names, view: View) -> list[str]:
    """Names that a certificate lacks or has too many."""
    expected = _NAMES[names](view.plan, view.node)
    wanted = {*expected.dns, *map(str, expected.ip)}
    found = {*facts.dns, *map(str, facts.addresses), *facts.other_names}
    return [f"lacks the name {name}" for name in sorted(wanted - found)] + [
        f"has the foreign name {name}" for name in sorted(found - wanted)
    ]


def time_problems(facts: CertificateFacts, now: datetime) -> list[str]:
    """Whether a certificate is not yet or no longer good."""
    if now < facts.not_before:
        return [f"not good before {facts.not_before:%Y-%m-%d}"]
    return [f"expired on {facts.not_after:%Y-%m-%d}"] if now > facts.not_after else []


def _lifetime_problems(check: CertificateFile, facts: CertificateFacts, view: View) -> list[str]:
    life, now = facts.not_after - facts.not_before, view.snapshot.at
    wrong = time_problems(facts, now)
    if not wrong and facts.not_after - now < life * _RENEWAL_FAILED:
        wrong.append(f"not renewed in time: good until {facts.not_after:%Y-%m-%d}")
    if check.issued_by_plan and life > timedelta(days=view.plan.pki.leaf_days) + _BACKDATING:
        wrong.append(f"lives for {life.days} days")
    return wrong


def kubeconfig(check: KubeconfigFile, view: View) -> Iterator[Finding]:
    """One context, verified TLS to a known server, no other credential than a certificate."""
    facts = view.facts.at("kubeconfigs", check.path)
    own = f"https://{bracketed(view.node.address)}:{API_PORT}"
    servers = facts.at("servers").texts()
    wrong = [f"server {server}" for server in servers if server not in (f"https://{view.plan.endpoint}", own)]
    contexts, authorities = facts.at("contexts").number(), facts.at("embedded_authorities").number()
    # A context is one entry in the list and one key in it.
    wrong += [] if len(servers) == 1 else [f"{len(servers)} servers"]
    wrong += [] if contexts == 1 else [f"{contexts} contexts"]
    wrong += [] if authorities == 1 else [f"{authorities} embedded CAs"]
    wrong += ["TLS is not verified"] if facts.at("unverified").flag() else []
    wrong += [f"holds {name}" for name in facts.at("credentials").texts()]
    expected = f"{check.path}: one context, this cluster's API with an embedded CA, no password, no token"
    yield Finding(expected, "; ".join(wrong) or "so it is", not wrong)


def trust(check: TrustFile, view: View) -> Iterator[Finding]:
    """Exactly these CAs: names can be chosen by anybody, so their fingerprints are compared with the stores'."""
    wanted = {_authority(name, view): name for name in check.authorities}
    facts = [read(pem, check.path) for pem in pems(view.facts, check.path)]
    found = {one.sha256: one for one in facts}
    wrong = [f"{one.common_name} is none of the cluster's" for sha256, one in found.items() if sha256 not in wanted]
    wrong += [f"lacks the cluster's {name}" for sha256, name in wanted.items() if sha256 not in found]
    wrong += [f"{one.common_name} stands there twice" for one in found.values() if facts.count(one) > 1]
    wrong += [f"{one.common_name} {problem}" for one in facts for problem in time_problems(one, view.snapshot.at)]
    prints = ", ".join(f"{one.common_name} sha256:{one.sha256}" for one in facts)
    expected = f"{check.path}: exactly the cluster's {', '.join(check.authorities)}"
    yield Finding(expected, "; ".join([*wrong, prints]), not wrong)


def _authority(name: str, view: View) -> str:
    if name not in view.authorities:
        raise Unobserved(f"the cluster's {name} is not known: authorities.pem is not beside its stores")
    return view.authorities[name]


def distinct(check: DistinctAuthorities, view: View) -> Iterator[Finding]:
    """No CA stands in two files."""
    holders: dict[str, list[str]] = {}
    for path in check.paths:
        for pem in pems(view.facts, path):
            holders.setdefault(read(pem, path).sha256, []).append(path)
    shared = [" and ".join(paths) for paths in holders.values() if len(paths) > 1]
    observed = f"the same CA in {'; '.join(shared)}" if shared else f"{len(holders)} CAs, each in one"
    yield Finding(f"no CA in two of {', '.join(check.paths)}", observed, not shared)
