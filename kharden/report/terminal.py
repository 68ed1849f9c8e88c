"""The report for a person: what isn't right first, with what to do about it, and a summary line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from kharden.report.model import VERDICTS

if TYPE_CHECKING:
    from rich.console import Console

    from kharden.report.model import Judgement, Report, Verdict

_STYLES: dict[Verdict, str] = {
    "pass": "green",
    "fail": "bold red",
    "waived": "yellow",
    "manual": "cyan",
    "unknown": "bold magenta",
    "not-applicable": "dim",
}
_SEVERITIES = ("critical", "high", "medium", "low")
# Of many equal deviations the first few show what it is about; the report file has all.
_SHOWN = 5


def show(report: Report, console: Console) -> None:
    """Print failing controls, then unknown, waived and manual ones, each with its evidence; then the counts.

    What is unknown only because a node is away is one line for that node; the report has it all.
    """
    for verdict in ("fail", "unknown", "waived", "manual"):
        chosen = [one for one in report.judgements if one.verdict == verdict]
        if verdict == "unknown":
            _show_away(report, chosen, console)
            chosen = [one for one in chosen if not _lacking(one) <= report.away.keys()]
        for judgement in sorted(chosen, key=lambda one: _SEVERITIES.index(one.control.severity)):
            _show_judgement(judgement, console)
    line = Text(f"{report.cluster}: {len(report.judgements)} controls on {len(report.nodes)} nodes")
    for position, verdict in enumerate(verdict for verdict in VERDICTS if report.summary[verdict]):
        line.append(", " if position else ": ")
        line.append(f"{report.summary[verdict]} {verdict}", style=_STYLES[verdict])
    console.print(line, soft_wrap=True)


def _lacking(judgement: Judgement) -> set[str]:
    """Nodes of which something could not be seen."""
    return {one.node for one in judgement.observations if one.ok is None}


def _show_away(report: Report, unknown: list[Judgement], console: Console) -> None:
    for name, reason in report.away.items():
        count = sum(name in _lacking(one) for one in unknown)
        head = Text.assemble(
            ("unknown", _STYLES["unknown"]), f"  {name} {reason}: {count} controls can't be judged there"
        )
        console.print(head, soft_wrap=True)


def _show_judgement(judgement: Judgement, console: Console) -> None:
    control = judgement.control
    head = Text.assemble(
        (judgement.verdict, _STYLES[judgement.verdict]), f"  {control.severity}  {control.id}: {control.title}"
    )
    console.print(head, soft_wrap=True)
    waiver = judgement.waiver
    if judgement.verdict == "waived" and waiver is not None:
        _line(f"waived by {waiver.owner} until {waiver.expires}: {waiver.reason}", console)
        return
    # The collector and a look at the live node may say the same: it is told once.
    found = {(one.node, one.expected, one.observed): one for one in judgement.observations if not one.ok}
    wrong = list(found.values())
    for one in wrong[:_SHOWN]:
        _line(f"{one.node}: expected {one.expected}", console)
        _line(f"{' ' * len(one.node)}  observed {one.observed}", console)
    if len(wrong) > _SHOWN:
        _line(f"and {len(wrong) - _SHOWN} more in the report", console)
    if waiver is not None:
        _line(f"its waiver by {waiver.owner} ended on {waiver.expires}", console)
    if judgement.verdict == "fail":
        _line(f"to do: {control.remedy}", console)


def _line(text: str, console: Console) -> None:
    """What a node said is text: no markup of it counts."""
    console.print(Text(f"    {text}"), soft_wrap=True)
