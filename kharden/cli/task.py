"""What all tasks have in common: how they are made, and the words for options that several have."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from invoke.exceptions import Exit
from invoke.tasks import Task

from kharden.cli.output import print_json, visible
from kharden.errors import KhardenError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invoke.context import Context

P = ParamSpec("P")

CLUSTER = "name of a folder in inventories/ (default: $KHARDEN_CLUSTER)"
JSON = "one JSON document of this task on standard output, and nothing else there; also where the task fails"
BREAK_LOCK = "go on where another run holds the cluster's lock, which then stops, or was cut off and left it"
YES = "agree to the changes that would be asked about"
LIMIT = "only these nodes are changed, with commas between them"
TAGS = "only these phases, with commas between them: host, kubeadm, manifests … (preflight always runs)"
NOW = "the time to go by, as 2027-01-31T12:00:00Z (default: the clock)"


def guarded(body: Callable[Concatenate[Context, P], None]) -> Callable[Concatenate[Context, P], None]:
    """An error of ours is one line and an exit status, and with --json the one document; a traceback is a bug."""

    @functools.wraps(body)
    def run(context: Context, /, *arguments: P.args, **options: P.kwargs) -> None:
        try:
            body(context, *arguments, **options)
        except KhardenError as error:
            if options.get("json"):
                print_json(error.as_document())
            details = [line for line in error.details if line not in str(error)]
            lines = (f"kharden: {error}", *(f"  {line}" for line in details))
            raise Exit(visible("\n".join(lines)), error.exit_code) from None

    return run


def task(body: Callable[..., None], *, iterable: Sequence[str] = (), **help_texts: str) -> Task[Any]:
    """A task of invoke's; each option has its help text."""
    # Without one-letter flags: --cluster must be found in the whole chain, whatever the task that names it.
    return Task(guarded(body), help=help_texts, iterable=list(iterable), auto_shortflags=False)
