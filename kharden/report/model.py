"""A report: one judgement for each control, and what follows from all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from kharden.controls import Control
    from kharden.observe.model import Observation
    from kharden.spec.policy import Waiver

Verdict = Literal["pass", "fail", "waived", "manual", "unknown", "not-applicable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

_NOT_MET = 2


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found about one control.

    Attributes:
        waiver: the one that made it "waived", or one that has expired; None where nobody waived it.
        counts: whether it has a say in the exit status; what was left out on request has none.
    """

    control: Control
    verdict: Verdict
    waiver: Waiver | None
    observations: tuple[Observation, ...]
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """One run of `verify`; times in UTC.

    Attributes:
        away: nodes that could not be asked, with the reason.
    """

    cluster: str
    kubernetes: str
    nodes: tuple[str, ...]
    started: datetime
    finished: datetime
    judgements: tuple[Judgement, ...]
    away: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> dict[Verdict, int]:
        """How many controls have each verdict."""
        return {verdict: sum(one.verdict == verdict for one in self.judgements) for verdict in VERDICTS}


def exit_status(report: Report) -> int:
    """0: every control passes or is waived; 2: one fails or is unknown. Manual and not-applicable change nothing."""
    met = all(one.verdict not in ("fail", "unknown") for one in report.judgements if one.counts)
    return 0 if met and report.judgements else _NOT_MET
