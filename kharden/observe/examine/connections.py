"""What ports answer, and to whom."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from kharden.controls.catalogue.suites import SPOKEN_SUITES, SPOKEN_VERSIONS
from kharden.observe.examine.certificates import chain_problems, names_problems, pems, read, time_problems
from kharden.observe.facts import Unobserved
from kharden.observe.model import Finding
from kharden.observe.questions import askers, foreign_node_questions, handshake_questions, probe_questions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import ForeignNodeRefused, Probe, TlsListener
    from kharden.observe.examine.view import View


def probe(check: Probe, view: View) -> Iterator[Finding]:
    """The answer to one request, for everyone who asked."""
    asked = list(probe_questions(view.node, check))
    for asker, question in product(askers(view.witnesses, view.node, check), asked):
        right = check.outcomes if asker == view.node else (*check.outcomes, *check.outside)
        expected = f"{question.text}, from {asker.name}: {' or '.join(right)}"
        try:
            outcome = view.snapshot.facts(asker.name).at("probes", question.text, "outcome").text()
        except Unobserved as reason:  # the others still have something to say
            yield Finding(expected, str(reason), None)
        else:
            yield Finding(expected, outcome, outcome in right)


def foreign_node(check: ForeignNodeRefused, view: View) -> Iterator[Finding]:
    """The kubelet's credential works, and not for more than it should."""
    for refusal in foreign_node_questions(view.witnesses, view.node, check):
        answer = view.facts.at("probes", refusal.question.text)
        outcome, message = answer.at("outcome").text(), answer.at("message").text()
        words = f" and “{refusal.says}”" if refusal.says else ""
        yield Finding(
            f"{refusal.question.text}: {refusal.status}{words}",
            f"{outcome} {message}".strip(),
            outcome == refusal.status and refusal.says in message,
        )


def tls(check: TlsListener, view: View) -> Iterator[Finding]:
    """Versions, suites and certificate of a port."""
    for what, _ in handshake_questions(view.node, check):
        yield _spoken(check, what, view)


def _spoken(check: TlsListener, what: str, view: View) -> Finding:
    facts = view.facts.at("handshakes", what)
    version, suite = facts.at("version").text(), facts.at("suite").text()
    wrong = [f"speaks {version}"] if version not in SPOKEN_VERSIONS else []
    wrong += [f"speaks {suite}"] if suite not in SPOKEN_SUITES else []
    wrong += ["accepts versions before TLS 1.2"] if facts.at("old_versions").text() != "refused" else []
    wrong += ["accepts weak suites"] if facts.at("weak_suites").text() != "refused" else []
    if check.authority is not None:
        own = facts.at("certificate").text().encode()
        served = read(own, what)
        wrong += chain_problems(own, served, pems(view.facts, check.authority), check.authority)
        wrong += names_problems(served, check.names, view)
        wrong += time_problems(served, view.snapshot.at)
    by = f", a certificate by {check.authority}" if check.authority else ""
    return Finding(f"{what}: TLS 1.2 or later, strong suites{by}", "; ".join(wrong) or f"{version}, {suite}", not wrong)
