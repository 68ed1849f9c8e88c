"""`invoke X` in a checkout: the tasks of the installed `kharden`, and the project's own tests and benchmarks."""

import os
import sys
from pathlib import Path

from invoke.context import Context
from invoke.tasks import Task

from kharden.artifacts.fetch import fetch
from kharden.artifacts.pin import Lines
from kharden.artifacts.store import Store, cache_root
from kharden.cli import collection

ROOT = Path(__file__).parent
BIN = Path(sys.executable).parent

KUBERNETES = "1.36.3"

# Programs that judge the sources; GPL ones are run, never imported.
LINTERS = (
    "ruff check .",
    "ruff format --check .",
    "mypy",
    "lint-imports",
    "yamllint --strict inventories playbooks .yamllint",
    "ansible-lint --offline --profile production --strict playbooks",
    "shellcheck .ci/run",
)


def test(context: Context, only: str = "", match: str = "") -> None:
    """Run the project's own tests: linters and types, units, and the real cluster in the lab."""
    parts = [only] if only else ["lint", "unit", "e2e", "faults"]
    path = os.pathsep.join((str(BIN), os.environ.get("PATH", os.defpath)))
    with context.cd(ROOT):
        if "lint" in parts:
            for linter in LINTERS:
                context.run(linter, echo=True, env={"PATH": path, "ANSIBLE_LIBRARY": "playbooks/library"})
        programs = _programs() if parts != ["lint"] else ""
        folders = " ".join(f"tests/{part}" for part in ("unit", "e2e", "faults") if part in parts)
        if folders:
            chosen = f" -k '{match}'" if match else ""
            environment = {"PATH": path, "KHARDEN_PROGRAMS": programs}
            context.run(f"{sys.executable} -m pytest {folders}{chosen}", echo=True, env=environment)


def _programs() -> str:
    """A folder with the real programs that judge what is rendered, built first where the cache lacks them."""
    folder = cache_root() / "test-programs"
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(cache_root())
    for name, file in fetch(KUBERNETES, "amd64", store=store, progress=Lines()).programs.items():
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(store.path(file.sha256))
    return str(folder)


def bench(context: Context) -> None:
    """Measure speed and memory, each beside its baseline."""
    with context.cd(ROOT):
        context.run(f"{sys.executable} bench/render.py", echo=True)


namespace = collection(ROOT, default_cluster="lab")
namespace.add_task(
    Task(
        test,
        help={"only": "lint, unit, e2e or faults (default: all of them)", "match": "pytest's -k: names of tests"},
    )
)
namespace.add_task(Task(bench))
