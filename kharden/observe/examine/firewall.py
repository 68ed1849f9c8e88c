"""The firewall in force, read from nft's JSON (libnftables-json(5)), and who gets through."""

from __future__ import annotations

from ipaddress import ip_address, ip_network, summarize_address_range
from typing import TYPE_CHECKING, Any

from kharden.controls import FromPlan
from kharden.observe.attempts import is_admitted, metadata_attempts, reach_attempts
from kharden.observe.examine.view import resolve
from kharden.observe.facts import Unobserved
from kharden.observe.model import Finding
from kharden.observe.rules import Chain, condition, expected_chains
from kharden.plan.firewall import collapsed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import FirewallRules, MetadataUnreached, Reach, ServiceTables
    from kharden.observe.attempts import Attempt
    from kharden.observe.examine.view import View
    from kharden.spec.types import IPNetwork

_DROPPED = ("no answer", "unreachable")
# Where somebody listens, and where nobody does behind an open port.
_ADMITTED = (("connected",), ("connection refused",))
_KNOWN = frozenset((*_DROPPED, *(outcome for outcomes in _ADMITTED for outcome in outcomes)))
_SHOWN = 3
_EQUAL = ("==", "in", "!=")


def rules(_: FirewallRules, view: View) -> Iterator[Finding]:
    """Each chain is the one that the plan asks for, rule by rule; there is no other."""
    facts = view.facts.at("firewall")
    found = _chains(facts.at("chains").seen(), facts.at("rules").seen(), facts.where)
    for name, wanted in expected_chains(view.plan, view.node).items():
        but = f"but for {len(wanted.rules)} rules"
        expected = f"chain {name}: {wanted.hook}, priority {wanted.priority}, {wanted.policy} {but}"
        chain = found.pop(name, None)
        wrong = ["there is none"] if chain is None else _differences(wanted, chain)
        yield Finding(expected, "; ".join(wrong) or "the same", not wrong)
    yield Finding("no other chain", ", ".join(found) or "none", not found)


def _differences(wanted: Chain, found: Chain) -> list[str]:
    wrong = []
    if (found.hook, found.priority, found.policy) != (wanted.hook, wanted.priority, wanted.policy):
        wrong.append(f"{found.hook}, priority {found.priority}, {found.policy}")
    added = [rule for rule in found.rules if rule not in wanted.rules]
    absent = [rule for rule in wanted.rules if rule not in found.rules]
    wrong += [f"unexpected: {rule}" for rule in added[:_SHOWN]] + [f"missing: {rule}" for rule in absent[:_SHOWN]]
    if not added and not absent and found.rules != wanted.rules:
        wrong.append("the rules stand in another order, or one twice")
    return wrong


def _chains(chains: Any, listed: Any, where: str) -> dict[str, Chain]:  # noqa: ANN401  # JSON
    """What nft listed, in our words. Whatever isn't of the documented form can't be judged."""
    try:
        texts: dict[str, list[str]] = {}
        for rule in listed:
            texts.setdefault(rule["chain"], []).append(_rule(rule["expr"]))
        return {
            chain["name"]: Chain(
                str(chain.get("hook", "no hook")),
                int(chain.get("prio", 0)),
                str(chain.get("policy", "accept")),
                tuple(texts.get(chain["name"], ())),
            )
            for chain in chains
        }
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise Unobserved(f"{where}: nft's list can't be read ({type(error).__name__})") from None


def _rule(expressions: list[dict[str, Any]]) -> str:
    conditions, verdicts = [], []
    for expression in expressions:
        (kind, content), *_ = expression.items()
        if kind == "match":
            conditions.append(_condition(content))
        else:
            verdicts.append(kind if content is None else f"{kind} {content}")
    return f"{', '.join(conditions)}: {', '.join(verdicts)}"


def _condition(match: dict[str, Any]) -> str:
    operator = "" if match["op"] in _EQUAL else f" {match['op']}"
    return condition(f"{_field(match['left'])}{operator}", _values(match["right"]), negated=match["op"] == "!=")


def _field(left: dict[str, Any]) -> str:
    (kind, content), *_ = left.items()
    if kind == "payload":
        return f"{content['protocol']} {content['field']}"
    if kind == "meta":
        return str(content["key"])
    if kind == "fib":
        return f"fib {' '.join(content['flags'])} {content['result']}"
    return f"{kind} {content['key']}" if isinstance(content, dict) and "key" in content else str(left)


def _values(right: Any) -> list[Any]:  # noqa: ANN401  # JSON
    """One value, a list or a set; addresses as the fewest ranges, the rest in order."""
    listed = right["set"] if isinstance(right, dict) and "set" in right else right
    items = listed if isinstance(listed, list) else [listed]
    try:
        return list(collapsed(network for item in items for network in _networks(item)))
    except ValueError:
        return sorted(items, key=lambda item: (str(type(item)), item if isinstance(item, int) else str(item)))


def _networks(item: Any) -> Iterator[IPNetwork]:  # noqa: ANN401  # JSON
    if isinstance(item, dict) and "prefix" in item:
        yield ip_network(f"{item['prefix']['addr']}/{item['prefix']['len']}")
    elif isinstance(item, dict) and "range" in item:
        first, last = map(ip_address, item["range"])
        yield from summarize_address_range(first, last)
    elif isinstance(item, str):
        yield ip_network(item)
    else:
        raise ValueError("no address")


def tables(_: ServiceTables, view: View) -> Iterator[Finding]:
    """The service proxy's own tables are there beside ours."""
    found = view.facts.at("firewall", "tables").texts()
    for network in view.plan.service_cidrs:
        name = f"{'ip' if network.version == 4 else 'ip6'} kube-proxy"  # noqa: PLR2004  # IP version 4
        yield Finding(f"table {name}", "there" if name in found else "missing", name in found)


def reach(check: Reach, view: View) -> Iterator[Finding]:
    """Each attempt went as the plan says."""
    port = int(resolve(check.port, view)) if isinstance(check.port, FromPlan) else check.port
    for attempt in reach_attempts(view.witnesses, view.node, port, check):
        try:
            outcome, seen = _answer(attempt, view)
        except Unobserved as reason:  # the others still have something to say
            unasked = view.snapshot.passive and attempt.origin == "pod"
            yield Finding(f"{attempt.text}: as the plan says", str(reason), None, left_out=unasked)
            continue
        admitted = is_admitted(view.plan, view.node, attempt, check, seen)
        if admitted and attempt.origin == "controller":
            # There may be no way to the node but over another machine: whatever came of it is no fault of the node's.
            yield Finding(f"{attempt.text}: admitted", outcome, outcome in _KNOWN or None)
            continue
        right = _ADMITTED[check.first_address_only and attempt.host != view.node.address] if admitted else _DROPPED
        yield Finding(f"{attempt.text}: {right[0] if admitted else 'dropped'}", outcome, outcome in right)


def metadata(check: MetadataUnreached, view: View) -> Iterator[Finding]:
    """No pod gets through; what its node gets is told beside it."""
    tried = list(metadata_attempts(view.plan, view.node, check))
    for attempt, compared in zip(tried[::2], tried[1::2], strict=True):
        expected = f"{attempt.text}: dropped"
        try:
            outcome, _ = _answer(attempt, view)
            own, _ = _answer(compared, view)
        except Unobserved as reason:
            yield Finding(expected, str(reason), None, left_out=view.snapshot.passive)
        else:
            yield Finding(expected, f"{outcome}; from the node itself: {own}", outcome in _DROPPED)


def _answer(attempt: Attempt, view: View) -> tuple[str, str]:
    section = "from_pod" if attempt.origin == "pod" else "from_here"
    answer = view.snapshot.facts(attempt.place).at(section, attempt.key)
    return answer.at("outcome").text(), answer.at("from").text()
