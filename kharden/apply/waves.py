"""Control planes first, then workers, some after the others: each wave is ready before the next one is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.apply import stages
from kharden.apply.runner import ApplyResult, RunError
from kharden.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kharden.apply.build import BuildFolder
    from kharden.apply.choice import Choice
    from kharden.apply.stages import Stage

    Attempt = Callable[[Stage], tuple[ApplyResult, RemoteError | None]]


def in_waves(build: BuildFolder, choice: Choice, attempt: Attempt) -> ApplyResult:
    """Carry a choice out, one stage after the other.

    Raises:
        RunError: a control plane or the cluster failed, or workers did; as many as may fail don't stop the others.
    """
    done = ApplyResult("successful")
    first = stages.control_planes(build, choice)
    if first:
        _add(done, attempt(first), may_fail=())
    parts = stages.waves(build, choice)
    for number, workers in enumerate(parts):
        stage = stages.wave(build, choice, number, done.failed, first=not number and first is None)
        if stage is None:
            break
        _add(done, attempt(stage), may_fail=workers)
        if len(done.failed) > choice.max_fail:
            raise RunError(_failed(done, [name for part in parts[number + 1 :] for name in part], choice), done)
    last = stages.cluster(build, choice, done.failed)
    if last:
        _add(done, attempt(last), may_fail=())
    if done.failed:
        raise RunError(_failed(done, [], choice), done)
    return done


def _add(done: ApplyResult, outcome: tuple[ApplyResult, RemoteError | None], *, may_fail: tuple[str, ...]) -> None:
    result, error = outcome
    earlier = [_line(done, name) for name in sorted(done.failed)]
    done.add(result)
    interrupted = result.status == "canceled"
    if error and (interrupted or not result.failed or not result.failed.issubset(may_fail)):
        details = (*(error.details or (error.message,)), *earlier)
        raise RunError(RemoteError(error.message, remedy=error.remedy, details=details), done)


def _failed(done: ApplyResult, untouched: list[str], choice: Choice) -> RemoteError:
    names = sorted(done.failed)
    if untouched or len(names) > choice.max_fail:
        rest = f"; not begun: {', '.join(untouched)}" if untouched else ""
        message = f"stopped, since {_counted(names)} failed and {choice.max_fail} may: {', '.join(names)}{rest}"
    else:
        message = f"{_counted(names)} failed, and all others are done: {', '.join(names)}"
    remedy = "mend that and apply again; it goes on where it stopped"
    return RemoteError(message, remedy=remedy, details=[_line(done, name) for name in names])


def _counted(names: list[str]) -> str:
    return "1 worker" if len(names) == 1 else f"{len(names)} workers"


def _line(done: ApplyResult, name: str) -> str:
    failure = next(failure for failure in done.failures if failure.node == name)
    return f"{failure.node}: {failure.task}: {failure.message}"
