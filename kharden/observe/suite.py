"""Starting the state suite: pytest in a process of its own, on the facts of a snapshot."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import kharden
from kharden import resources, securefile
from kharden.controls import CONTROLS
from kharden.errors import KhardenError
from kharden.observe.connection import connections
from kharden.observe.examine import can_be_live
from kharden.observe.exchange import SuiteInput, dump_input, load_observations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kharden.observe.facts import Snapshot
    from kharden.observe.model import Observation
    from kharden.plan.model import ClusterPlan

LIVE_CHECKS = 5
# pytest's exit statuses: all passed, and some failed; with others it did not come to its end.
_ENDED = (0, 1)
_SECONDS = 600
# What a user's shell may hold to change pytest has no say in a verdict.
_PYTEST_VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_THEME", "PYTHONSTARTUP")


class SuiteError(KhardenError):
    """The state suite did not come to its end, so there are no verdicts."""


def run(  # noqa: PLR0913  # what was seen, what to hold it against, and how much is asked again
    plan: ClusterPlan,
    snapshot: Snapshot,
    digests: Mapping[str, dict[str, str]],
    authorities: Mapping[str, str],
    *,
    live: int = LIVE_CHECKS,
    seed: int = 0,
) -> tuple[Observation, ...]:
    """Run the state suite on a snapshot.

    Args:
        plan: the cluster.
        snapshot: what was collected of it.
        digests: architecture → program → SHA-256 that the lock of artifacts names for this cluster.
        authorities: name in the table of the PKI → SHA-256 of its certificate; empty where they aren't known.
        live: how many controls of each node are asked once more on the node itself, so that the collector is not its
            own only witness.
        seed: which ones; the same seed takes the same.

    Raises:
        SuiteError: pytest did not come to its end.
    """
    chosen = sample(plan, snapshot, live, seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kharden-suite-")))
        config = stack.enter_context(connections(plan)).config if chosen else None
        given, told = folder / "input.json", folder / "observations.jsonl"
        content = SuiteInput(
            plan=plan,
            at=snapshot.at,
            passive=snapshot.passive,
            nodes=dict(snapshot.nodes),
            away=dict(snapshot.away),
            mute=dict(snapshot.mute),
            digests=dict(digests),
            authorities=dict(authorities),
            live=chosen,
            ssh_config=config,
        )
        securefile.write(given, dump_input(content), mode=0o600)
        _pytest(folder, given, told)
        return load_observations(told.read_text(encoding="utf-8"))


def sample(plan: ClusterPlan, snapshot: Snapshot, count: int, seed: int) -> tuple[tuple[str, str], ...]:
    """Pairs of control and node to ask live, `count` for each node that the collector reached."""
    chosen: list[tuple[str, str]] = []
    # Not a secret: anybody may know which ones are asked, but a run must be repeatable.
    generator = random.Random(seed)  # noqa: S311
    for node in plan.nodes:
        candidates = [control.id for control in CONTROLS if control.concerns(node.duties) and can_be_live(control)]
        if "error" not in snapshot.nodes[node.name]:
            chosen += ((control, node.name) for control in generator.sample(candidates, min(count, len(candidates))))
    return tuple(chosen)


def _pytest(folder: Path, given: Path, told: Path) -> None:
    suite = resources.folder("tests/state")
    command = [
        *(sys.executable, "-P", "-m", "pytest", str(suite)),
        *("-p", "no:cacheprovider", "--quiet", "--tb=no", "--no-header"),
        f"--kharden-input={given}",
        f"--kharden-output={told}",
    ]
    environment = {name: value for name, value in os.environ.items() if name not in _PYTEST_VARIABLES}
    environment |= {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # The suite judges with the very code that started it.
        "PYTHONPATH": str(Path(kharden.__file__).parent.parent),
    }
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SuiteError(f"the state suite took longer than {_SECONDS} s", remedy="look at the nodes") from None
    if done.returncode not in _ENDED or not told.exists():
        lines = [*done.stderr.strip().splitlines(), *done.stdout.strip().splitlines()]
        raise SuiteError(
            f"the state suite did not come to its end (pytest left with {done.returncode})",
            remedy="report this fault",
            details=lines[-20:],
        )
