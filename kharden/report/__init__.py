"""Verdicts and what is told of them: on the terminal and in files."""

from kharden.report.json_report import write
from kharden.report.model import Judgement, Report, Verdict, exit_status
from kharden.report.verdicts import judge

__all__ = ["Judgement", "Report", "Verdict", "exit_status", "judge", "write"]
