"""Tasks of a cluster: from its file to its nodes, and what they are worth."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection
from invoke.exceptions import Exit

from kharden.cli.output import asking, console, print_json, reporting, visible
from kharden.cli.site import is_chained, time_of
from kharden.cli.task import BREAK_LOCK, CLUSTER, JSON, LIMIT, NOW, TAGS, YES, task

if TYPE_CHECKING:
    from invoke.context import Context
    from invoke.tasks import Task

    from kharden.apply.runner import ApplyResult
    from kharden.cli.site import Site


def tasks(site: Site) -> Collection:
    """Those of every day, which have no prefix."""
    return Collection(_validate(site), _render(site), _plan(site), _apply(site), _verify(site), _kubeconfig(site))


def _program() -> str:
    """What the user types."""
    return "kharden" if Path(sys.argv[0]).name.startswith("kharden") else "invoke"


def _validate(site: Site) -> Task[Any]:
    def validate(context: Context, cluster: str | None = None, now: str | None = None, json: bool = False) -> None:
        """Check cluster.yaml alone, with the manifest of a network plugin if it names one."""
        from kharden.validation import examined
        from kharden.validation import validate as judged

        loaded, _ = examined(judged(site.place(cluster), time_of(now)))
        if json:
            warnings = [asdict(warning) for warning in loaded.warnings]
            name = loaded.cluster.metadata.name
            print_json({"cluster": name, "digest": loaded.digest, "problems": [], "warnings": warnings})
        else:
            for warning in loaded.warnings:
                console().print(f"{warning} (a warning)", highlight=False)
            console().print(f"{loaded.path}: good", highlight=False)

    return task(validate, cluster=CLUSTER, now=NOW, json=JSON)


def _render(site: Site) -> Task[Any]:
    def render(context: Context, cluster: str | None = None, now: str | None = None, json: bool = False) -> None:
        """Write build/<cluster>/ from cluster.yaml."""
        from kharden import commands

        place = site.place(cluster)
        with reporting(as_json=json) as reporter:
            if is_chained("apply"):  # in this chain: what it needs is asked now, not after a long build
                ask = asking(yes="--yes" in sys.argv[1:], reporter=reporter)
                site.agreed = commands.agree_to_lab(place, ask)
            rendered = commands.render(place, reporter, now=time_of(now))
            reporter.note(f"build/{place.cluster}: {len(rendered.changed)} files changed")
        if json:
            print_json({"folder": str(rendered.folder), "changed": rendered.changed, "notes": rendered.notes})

    return task(render, cluster=CLUSTER, now=NOW, json=JSON)


def _plan(site: Site) -> Task[Any]:
    def plan(  # noqa: PLR0913, PLR0917  # the options of a task are its arguments
        context: Context,
        cluster: str | None = None,
        limit: str | None = None,
        tags: str | None = None,
        out: str | None = None,
        json: bool = False,
    ) -> None:
        """Show what apply would change; change nothing (exit status 2 where there is something to do)."""
        from kharden import commands
        from kharden.apply import saved
        from kharden.apply.runner import RunError

        place = site.place(cluster)
        choice = commands.choose(place, limit=limit, tags=tags)
        with reporting(as_json=json) as reporter:
            try:
                result, failed = commands.apply(place, reporter, choice=choice, check=True), None
            except RunError as error:
                result, failed = error.result, error
        result.seconds = reporter.seconds or result.seconds
        if failed:
            _show_notes(result, as_json=json)
            raise failed
        if out is not None:
            saved.save(Path(out), place.cluster, choice, result, now=time_of(None))
        _show_changes(result, as_json=json, diff=True)
        if result.changes:
            raise Exit(code=2)

    return task(
        plan, cluster=CLUSTER, limit=LIMIT, tags=TAGS, out="the file to save it in, for apply --plan", json=JSON
    )


def _apply(site: Site) -> Task[Any]:
    def apply(  # noqa: PLR0913, PLR0917  # the options of a task are its arguments
        context: Context,
        cluster: str | None = None,
        limit: str | None = None,
        tags: str | None = None,
        wave: str | None = None,
        max_fail: str | None = None,
        plan: str | None = None,
        yes: bool = False,
        break_lock: bool = False,
        json: bool = False,
    ) -> None:
        """Make the nodes what build/<cluster>/ says; in the lab, start them first."""
        from kharden import commands
        from kharden.apply.runner import RunError

        place = site.place(cluster)
        words = {"limit": limit, "tags": tags, "wave": wave, "max_fail": max_fail}
        if plan is None:
            choice, saved = commands.choose(place, **words), None
        else:
            choice, saved = commands.choose_saved(place, Path(plan), **words)
        with reporting(as_json=json) as reporter:
            ask = asking(yes=yes, reporter=reporter)
            if not site.agreed:
                commands.agree_to_lab(place, ask)
            commands.bring_up_lab(place, reporter, choice)
            commands.agree_to_apply(place, ask, choice)
            try:
                result = commands.apply(place, reporter, choice=choice, saved=saved, break_lock=break_lock)
                failed = None
            except RunError as error:
                result, failed = error.result, error
        result.seconds = reporter.seconds or result.seconds
        if failed:
            if not json:
                _show_changes(result, as_json=False, diff=False, whole=False)
            raise failed
        _show_changes(result, as_json=json, diff=False)
        if not json:
            console().print(commands.next_steps(place, _program()), highlight=False)

    return task(
        apply,
        cluster=CLUSTER,
        limit=LIMIT,
        tags=TAGS,
        wave="how many workers at a time, as 3 or 20% (default: one, then all others)",
        max_fail="how many workers may fail before the run stops (default: 0)",
        plan="a file that plan --out wrote: apply exactly that, or nothing",
        yes=YES,
        break_lock=BREAK_LOCK,
        json=JSON,
    )


def _show_changes(result: ApplyResult, *, as_json: bool, diff: bool, whole: bool = True) -> None:
    """What a run did or would do; where it isn't the `whole`, what it did before it failed."""
    told = result.as_document()
    rows: list[dict[str, Any]] = told["changes"]
    if as_json:
        print_json(told)
        return
    screen = console()
    for row in rows if diff else ():
        for detail in row["changes"] or [{}]:
            what = " ".join(str(detail[key]) for key in ("action", "path", "name") if key in detail)
            line = f"{row['node']}: {row['task']}" + (f": {what}" if what else "")
            screen.print(visible(line), highlight=False)
            if detail.get("diff"):
                screen.print(visible(detail["diff"].rstrip()), highlight=False)
    if result.restarts:
        from kharden.apply.restarts import lines

        done = "Restarted:" if whole else "Restarted, or begun to:"
        screen.print("Restarts, in this order:" if diff else done, highlight=False)
        for line in lines(result.restarts):
            screen.print(visible(line), highlight=False)
    _show_notes(result, as_json=False)
    verb = "would change" if diff else "changed"
    # A program that isn't ours says nothing of what it did before it failed.
    nothing = "nothing to change" if whole else "no task that changes something came to its end"
    screen.print(f"{len(rows)} tasks {verb} something" if rows else nothing, highlight=False)


def _show_notes(result: ApplyResult, *, as_json: bool) -> None:
    for note in () if as_json else result.notes:
        console().print(visible(f"Note: {note}"), highlight=False)


def _verify(site: Site) -> Task[Any]:
    def verify(
        context: Context,
        cluster: str | None = None,
        now: str | None = None,
        passive: bool = False,
        json: bool = False,
    ) -> None:
        """Observe the nodes, judge every control, write evidence/<cluster>/<time>/report.json."""
        from kharden import commands
        from kharden.report import exit_status
        from kharden.report.json_report import document
        from kharden.report.terminal import show

        place = site.place(cluster)
        with reporting(as_json=json) as reporter:
            verified = commands.verify(place, reporter, now=time_of(now), passive=passive)
        if json:
            print_json(document(verified.report))
        else:
            screen = console()
            show(verified.report, screen)
            screen.print(os.path.relpath(verified.path), highlight=False)
        status = exit_status(verified.report)
        if status:
            raise Exit(code=status)

    return task(verify, cluster=CLUSTER, now=NOW, passive="only look: make no scratch object and try no pod", json=JSON)


def _kubeconfig(site: Site) -> Task[Any]:
    def kubeconfig(  # noqa: PLR0913, PLR0917  # the options of a task are its arguments
        context: Context,
        cluster: str | None = None,
        user: str | None = None,
        group: list[str] | None = None,
        hours: str = "1",
        output: str | None = None,
        replace: bool = False,
        now: str | None = None,
        json: bool = False,
    ) -> None:
        """Write a kubeconfig for a person, with a certificate of an hour at most."""
        from kharden import commands, personal
        from kharden.plan.objects import ADMINISTRATORS

        groups = tuple(group or (ADMINISTRATORS,))
        person = personal.Person(user or getpass.getuser(), groups, personal.lifetime(hours))
        given = commands.give_kubeconfig(site.place(cluster), person, output, now=time_of(now), replace=replace)
        if json:
            told = {"path": str(given.path), "server": given.server, "user": given.user, "groups": given.groups}
            print_json(told | {"expires": given.expires.isoformat(), "notes": given.notes})
            return
        for note in given.notes:
            console(stderr=True).print(note, highlight=False)
        screen = console()
        screen.print(f"{given.user} in {', '.join(given.groups)} at {given.server}", highlight=False)
        screen.print(f"until {given.expires:%Y-%m-%d %H:%M:%S} UTC", highlight=False)
        screen.print(f"export KUBECONFIG={shlex.quote(str(given.path))}", highlight=False)

    return task(
        kubeconfig,
        iterable=["group"],
        cluster=CLUSTER,
        user="the user's name (default: who runs this)",
        group="a group that RBAC knows, several times for several (default: kharden:administrators)",
        hours="how long it is good for, a number up to 1",
        output="the file to write (default: <cluster>.kubeconfig in the user's folder in memory)",
        replace="a file that is there may go",
        now=NOW,
        json=JSON,
    )
