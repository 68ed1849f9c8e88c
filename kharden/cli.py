"""The tasks: thin. `invoke X` in a checkout and `kharden X` when installed are the same ones."""

from __future__ import annotations

import functools
import getpass
import json
import os
import re
import shlex
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from invoke.collection import Collection
from invoke.exceptions import Exit
from invoke.program import Program
from invoke.tasks import Task
from rich.console import Console

from kharden import commands, personal, supply
from kharden import lab as lab_nodes
from kharden.errors import InputError, KhardenError
from kharden.plan.objects import ADMINISTRATORS
from kharden.progress import Reporter
from kharden.report import exit_status
from kharden.report.json_report import document
from kharden.report.terminal import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from invoke.context import Context

    from kharden.apply.runner import ApplyResult
    from kharden.artifacts.model import Artifacts
    from kharden.artifacts.rebuild import Rebuilt
    from kharden.plan.model import Architecture

P = ParamSpec("P")

# It becomes part of paths; what a name is otherwise, the model of cluster.yaml says.
_NAME = re.compile(r"[a-z0-9][-a-z0-9]{0,62}")

# Certificates begin a little before the time of issue and end years after it (RFC 5280: 9999 is the last one).
_YEARS = range(2000, 9900)

_CLUSTER = "name of a folder in inventories/ (default: $KHARDEN_CLUSTER)"
_JSON = "one JSON document on standard output, and nothing else there"
_YES = "agree to the changes that would be asked about"
_NOW = "the time to go by, as 2027-01-31T12:00:00Z (default: the clock)"


@dataclass(slots=True)
class _Site:
    """Where tasks run: the folder that holds inventories/ and the cluster that is meant when none is named.

    Attributes:
        agreed: whether an earlier task of this chain has asked for the lab's changes on this machine.
    """

    root: Path
    default: str | None
    agreed: bool = False

    def place(self, cluster: str | None) -> commands.Place:
        chain = _named_in_chain(sys.argv[1:])
        name = cluster or chain or os.environ.get("KHARDEN_CLUSTER") or self.default
        if not name:
            raise InputError("no cluster is named", remedy="add --cluster NAME, or set KHARDEN_CLUSTER")
        if not _NAME.fullmatch(name):
            raise InputError(f"{name[:60]!r} can't be a cluster's name", remedy="name a folder in inventories/")
        return commands.Place(self.root, name)


def _named_in_chain(arguments: Sequence[str]) -> str | None:
    """The cluster that a task of this chain names: it holds for all of them, and two different ones are an error."""
    if any(argument.startswith("-c") for argument in arguments):  # invoke's own --collection, after a task ignored
        raise InputError("-c is not a flag of this task", remedy="write --cluster NAME")
    named = [value for flag, value in pairwise(arguments) if flag == "--cluster"]
    named += [argument.partition("=")[2] for argument in arguments if argument.startswith("--cluster=")]
    if len(set(named)) > 1:
        raise InputError(
            f"one chain of tasks names several clusters: {', '.join(dict.fromkeys(named))}",
            remedy="run them one after the other",
        )
    return named[0] if named else None


def _is_chained(task: str) -> bool:
    """Whether this chain has the task; a cluster may have its name."""
    return any(word == task and before != "--cluster" for before, word in pairwise(("", *sys.argv[1:])))


def _guarded(body: Callable[Concatenate[Context, P], None]) -> Callable[Concatenate[Context, P], None]:
    """An error of ours is one line and an exit status; a traceback is a bug."""

    @functools.wraps(body)
    def run(context: Context, /, *arguments: P.args, **options: P.kwargs) -> None:
        try:
            body(context, *arguments, **options)
        except KhardenError as error:
            details = [line for line in error.details if line not in str(error)]
            lines = (f"kharden: {error}", *(f"  {line}" for line in details))
            raise Exit(_visible("\n".join(lines)), error.exit_code) from None

    return run


def _visible(text: str) -> str:
    """Text that may be a node's own: what a terminal would take for a command is written out (CWE-150)."""
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)


def _console(*, stderr: bool = False) -> Console:
    """Lines as they are: not wrapped at any width, and brackets in paths and names are no markup."""
    return Console(stderr=stderr, soft_wrap=True, markup=False)


@contextmanager
def _reporter(*, as_json: bool) -> Iterator[Reporter]:
    with Reporter(_console(stderr=as_json)) as reporter:
        yield reporter


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _time(now: str | None) -> datetime:
    if now is None:
        return datetime.now(UTC)
    try:
        time = datetime.fromisoformat(now)
    except ValueError:
        raise InputError(f"--now {now}: is not a time", remedy="write it as 2027-01-31T12:00:00Z") from None
    if time.year not in _YEARS:
        raise InputError(f"--now {now}: is out of range", remedy=f"choose a year up to {_YEARS[-1]}")
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _asking(*, yes: bool, reporter: Reporter) -> Callable[[Sequence[str]], bool]:
    """Shows what would be changed and asks a person, if there is one."""

    def ask(changes: Sequence[str]) -> bool:
        reporter.note("This would be changed:")
        for change in changes:
            reporter.note(f"  {change}")
        if yes:
            return True
        if not sys.stdin.isatty():
            return False
        with reporter.paused():
            return input("Go on? [y/N] ").strip().lower() in {"y", "yes"}

    return ask


def collection(root: Path, *, default_cluster: str | None) -> Collection:
    """All tasks, for the folder `root`."""
    site = _Site(root, default_cluster)
    namespace = Collection(_validate(site), _render(site), _plan(site), _apply(site), _verify(site), _kubeconfig(site))
    namespace.add_collection(_lab(site), name="lab")
    namespace.add_collection(_artifacts(site), name="artifacts")
    namespace.add_collection(Collection(_scan(site)), name="hosts")
    return namespace


def _task(body: Callable[..., None], *, iterable: Sequence[str] = (), **help_texts: str) -> Task[Any]:
    # Without one-letter flags: --cluster must be found in the whole chain, whatever the task that names it.
    return Task(_guarded(body), help=help_texts, iterable=list(iterable), auto_shortflags=False)


def _program() -> str:
    """What the user types."""
    return "kharden" if Path(sys.argv[0]).name.startswith("kharden") else "invoke"


def _validate(site: _Site) -> Task[Any]:
    def validate(context: Context, cluster: str | None = None, now: str | None = None, json: bool = False) -> None:
        """Check cluster.yaml alone."""
        loaded = commands.validate(site.place(cluster), _time(now))
        if json:
            warnings = [asdict(warning) for warning in loaded.warnings]
            name = loaded.cluster.metadata.name
            _print_json({"cluster": name, "digest": loaded.digest, "problems": [], "warnings": warnings})
        else:
            for warning in loaded.warnings:
                _console().print(f"{warning} (a warning)", highlight=False)
            _console().print(f"{loaded.path}: good", highlight=False)

    return _task(validate, cluster=_CLUSTER, now=_NOW, json=_JSON)


def _render(site: _Site) -> Task[Any]:
    def render(context: Context, cluster: str | None = None, now: str | None = None, json: bool = False) -> None:
        """Write build/<cluster>/ from cluster.yaml."""
        place = site.place(cluster)
        with _reporter(as_json=json) as reporter:
            if _is_chained("apply"):  # in this chain: what it needs is asked now, not after a long build
                asking = _asking(yes="--yes" in sys.argv[1:], reporter=reporter)
                site.agreed = commands.agree_to_lab(place, asking)
            rendered = commands.render(place, reporter, now=_time(now))
            reporter.note(f"build/{place.cluster}: {len(rendered.changed)} files changed")
        if json:
            _print_json({"folder": str(rendered.folder), "changed": rendered.changed, "notes": rendered.notes})

    return _task(render, cluster=_CLUSTER, now=_NOW, json=_JSON)


def _plan(site: _Site) -> Task[Any]:
    def plan(context: Context, cluster: str | None = None, json: bool = False) -> None:
        """Show what apply would change; change nothing (exit status 2 where there is something to do)."""
        with _reporter(as_json=json) as reporter:
            result = commands.apply(site.place(cluster), reporter, check=True)
        _show_changes(result, as_json=json, diff=True)
        if result.changes:
            raise Exit(code=2)

    return _task(plan, cluster=_CLUSTER, json=_JSON)


def _apply(site: _Site) -> Task[Any]:
    def apply(context: Context, cluster: str | None = None, yes: bool = False, json: bool = False) -> None:
        """Make the nodes what build/<cluster>/ says; in the lab, start them first."""
        place = site.place(cluster)
        with _reporter(as_json=json) as reporter:
            asking = _asking(yes=yes, reporter=reporter)
            if not site.agreed:
                commands.agree_to_lab(place, asking)
            commands.bring_up_lab(place, reporter)
            commands.agree_to_apply(place, asking)
            result = commands.apply(place, reporter)
            seconds = dict(reporter.seconds)
        _show_changes(result, as_json=json, diff=False, seconds=seconds)
        if not json:
            _console().print(commands.next_steps(place, _program()), highlight=False)

    return _task(apply, cluster=_CLUSTER, yes=_YES, json=_JSON)


def _show_changes(result: ApplyResult, *, as_json: bool, diff: bool, seconds: dict[str, float] | None = None) -> None:
    rows: list[dict[str, Any]] = [
        {"node": change.node, "task": change.task, "changes": [dict(detail) for detail in change.details]}
        for change in result.changes
    ]
    if as_json:
        found = {"changed": len(rows), "changes": rows, "notes": result.notes}
        _print_json(found | {"seconds": seconds or result.seconds})
        return
    console = _console()
    for row in rows if diff else ():
        for detail in row["changes"] or [{}]:
            what = " ".join(str(detail[key]) for key in ("action", "path", "name") if key in detail)
            line = f"{row['node']}: {row['task']}" + (f": {what}" if what else "")
            console.print(_visible(line), highlight=False)
            if detail.get("diff"):
                console.print(_visible(detail["diff"].rstrip()), highlight=False)
    for note in result.notes:
        console.print(_visible(f"Note: {note}"), highlight=False)
    verb = "would change" if diff else "changed"
    console.print(f"{len(rows)} tasks {verb} something" if rows else "nothing to change", highlight=False)


def _verify(site: _Site) -> Task[Any]:
    def verify(
        context: Context,
        cluster: str | None = None,
        now: str | None = None,
        passive: bool = False,
        json: bool = False,
    ) -> None:
        """Observe the nodes, judge every control, write evidence/<cluster>/<time>/report.json."""
        place = site.place(cluster)
        with _reporter(as_json=json) as reporter:
            verified = commands.verify(place, reporter, now=_time(now), passive=passive)
        if json:
            _print_json(document(verified.report))
        else:
            console = _console()
            show(verified.report, console)
            console.print(os.path.relpath(verified.path), highlight=False)
        status = exit_status(verified.report)
        if status:
            raise Exit(code=status)

    return _task(
        verify, cluster=_CLUSTER, now=_NOW, passive="only look: make no scratch object and try no pod", json=_JSON
    )


def _kubeconfig(site: _Site) -> Task[Any]:
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
        groups = tuple(group or (ADMINISTRATORS,))
        person = personal.Person(user or getpass.getuser(), groups, personal.lifetime(hours))
        given = commands.give_kubeconfig(site.place(cluster), person, output, now=_time(now), replace=replace)
        if json:
            told = {"path": str(given.path), "server": given.server, "user": given.user, "groups": given.groups}
            _print_json(told | {"expires": given.expires.isoformat(), "notes": given.notes})
            return
        for note in given.notes:
            _console(stderr=True).print(note, highlight=False)
        console = _console()
        console.print(f"{given.user} in {', '.join(given.groups)} at {given.server}", highlight=False)
        console.print(f"until {given.expires:%Y-%m-%d %H:%M:%S} UTC", highlight=False)
        console.print(f"export KUBECONFIG={shlex.quote(str(given.path))}", highlight=False)

    return _task(
        kubeconfig,
        iterable=["group"],
        cluster=_CLUSTER,
        user="the user's name (default: who runs this)",
        group=f"a group that RBAC knows, several times for several (default: {ADMINISTRATORS})",
        hours="how long it is good for, a number up to 1",
        output="the file to write (default: <cluster>.kubeconfig in the user's folder in memory)",
        replace="a file that is there may go",
        now=_NOW,
        json=_JSON,
    )


def _lab(site: _Site) -> Collection:
    def up(context: Context, cluster: str | None = None, yes: bool = False) -> None:
        """Start the lab's nodes on this machine."""
        with _reporter(as_json=False) as reporter:
            place = site.place(cluster)
            commands.agree_to_lab(place, _asking(yes=yes, reporter=reporter))
            commands.bring_up_lab(place, reporter)

    def down(context: Context, cluster: str | None = None) -> None:
        """Stop and remove the lab's nodes; what was changed on this machine is put back."""
        place = site.place(cluster)
        with _reporter(as_json=False) as reporter:
            reporter.phase("Stop the lab's nodes")
            for line in lab_nodes.down(place.cluster, reporter):
                reporter.note(line)

    def status(context: Context, cluster: str | None = None, json: bool = False) -> None:
        """Show the lab's nodes."""
        found = lab_nodes.status(site.place(cluster).cluster)
        rows = [
            {
                "name": node.name,
                "address": str(node.address),
                "state": node.state,
                "pid": node.pid,
                "since": node.since.isoformat() if node.since else None,
            }
            for node in found.nodes
        ]
        if json:
            _print_json({"lab": found.name, "nodes": rows})
            return
        console = _console()
        for row in rows:
            console.print(f"{row['name']}  {row['address']}  {row['state']}  {row['since'] or ''}", highlight=False)
        if not rows:
            console.print(f"lab {found.name}: no nodes", highlight=False)

    def shell(context: Context, node: str, cluster: str | None = None, command: str | None = None) -> None:
        """Run a root shell, or one command, in a node; its exit status is ours."""
        status = lab_nodes.shell(site.place(cluster).cluster, node, command)
        if status:
            raise Exit(code=status)

    return Collection(
        _task(up, cluster=_CLUSTER, yes=_YES),
        _task(down, cluster=_CLUSTER),
        _task(status, cluster=_CLUSTER, json=_JSON),
        _task(shell, node="the node's name", cluster=_CLUSTER, command="a command for its shell"),
    )


def _artifacts(site: _Site) -> Collection:
    def fetch(context: Context, cluster: str | None = None, json: bool = False) -> None:
        """Get a cluster's programs and images into the cache: fetched or built, and verified."""
        plan = commands.make_plan(site.place(cluster))
        with _reporter(as_json=json) as reporter:
            reporter.phase("Fetch programs and images")
            found = supply.fetch(plan, reporter)
        _show_artifacts(found, as_json=json)

    def bundle(context: Context, to: str, cluster: str | None = None, json: bool = False) -> None:
        """Make a mirror of what artifacts.fetch got, for machines without a network."""
        made = supply.bundle(commands.make_plan(site.place(cluster)), Path(to).absolute())
        size = sum(file.size for file in made.files)
        if json:
            files = [asdict(file) for file in made.files]
            _print_json({"path": str(made.target), "bytes": size, "lists": made.lists, "files": files})
        else:
            _console().print(f"{made.target}: {len(made.files)} files, {size / 1e6:.0f} MB", highlight=False)

    def verify(
        context: Context, cluster: str | None = None, rebuild: Sequence[str] | None = None, json: bool = False
    ) -> None:
        """Read every byte in the cache that belongs to a cluster and compare it with its digest."""
        plan = commands.make_plan(site.place(cluster))
        with _reporter(as_json=json) as reporter:
            reporter.phase("Compare digests")
            found = supply.verify(plan)
            rebuilt = supply.rebuild(plan, rebuild, reporter) if rebuild else ()
        _show_artifacts(found, as_json=json, rebuilt=rebuilt)

    return Collection(
        _task(fetch, cluster=_CLUSTER, json=_JSON),
        _task(bundle, to="a folder, or a new file that ends in .tar", cluster=_CLUSTER, json=_JSON),
        _task(
            verify,
            iterable=["rebuild"],
            cluster=_CLUSTER,
            rebuild="a program to compile once more in a clean folder and compare; may be said several times",
            json=_JSON,
        ),
    )


def _show_artifacts(found: Mapping[Architecture, Artifacts], *, as_json: bool, rebuilt: Sequence[Rebuilt] = ()) -> None:
    if as_json:
        _print_json(
            {
                "artifacts": {architecture: asdict(each) for architecture, each in found.items()},
                "rebuilt": [asdict(each) for each in rebuilt],
            }
        )
        return
    for architecture, each in found.items():
        size = sum(file.size for file in each.programs.values()) + sum(image.size for image in each.images)
        what = f"{len(each.programs)} programs and {len(each.images)} images, {size / 1e6:.0f} MB"
        as_pinned = "all as pinned" if each.pinned else "not all as pinned"
        _console().print(f"Kubernetes {each.kubernetes} on {architecture}: {what}, {as_pinned}", highlight=False)
        for note in each.notes:
            _console().print(f"  {note}", highlight=False)
    for program in rebuilt:
        _console().print(f"  {program.name} {program.version}: built again, the same bytes", highlight=False)


def _scan(site: _Site) -> Task[Any]:
    def scan(context: Context, machine: str, port: int = 22, cluster: str | None = None, json: bool = False) -> None:
        """Print the ssh host keys that a machine shows, for you to confirm and to pin in cluster.yaml."""
        keys = commands.scan_host_keys(lambda: site.place(cluster), machine, port)
        if json:
            _print_json({"machine": machine, "hostKeys": [key.key for key in keys]})
            return
        console = _console()
        console.print(f"{machine} shows these keys. Compare them with `ssh-keygen -l -f` on its own console.")
        for key in keys:
            console.print(f"  {key.fingerprint}  {key.key.split()[0]}", highlight=False)
        console.print("    hostKeys:", highlight=False)
        for key in keys:
            console.print(f"      - {key.key}", highlight=False)

    return _task(
        scan,
        machine="an IP address, or the name of a node or jump host in cluster.yaml",
        port="the ssh port of an address",
        cluster=_CLUSTER,
        json=_JSON,
    )


def main() -> None:
    """The installed program: clusters lie below the folder in which it is started."""
    try:
        namespace = collection(Path.cwd(), default_cluster=None)
    except OSError as error:
        sys.exit(f"kharden: this folder can't be found any more ({error.strerror}): change to another one")
    Program(namespace=namespace, name="kharden", version=commands.version()).run()
