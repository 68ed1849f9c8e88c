"""`invoke X` in a checkout: the tasks of the installed `kharden`, and the project's own tests and benchmarks."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task

from kharden.artifacts import lock
from kharden.artifacts.fetch import Maker, fetch
from kharden.artifacts.model import File
from kharden.artifacts.pin import Lines
from kharden.artifacts.record import Record
from kharden.artifacts.store import Store, cache_root
from kharden.cli import collection
from kharden.plan.model import ArtifactsPlan

ROOT = Path(__file__).parent
BIN = Path(sys.executable).parent

KUBERNETES = "1.36.3"  # the one whose programs are all built for the tests
# What the others are built of, unless with --all: every program that is rendered for.
JUDGES = (
    *("kubeadm", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"),
    "etcd",
)
HERE = ArtifactsPlan(official=False, mirror="", other_packages=True)

NONE_CHOSEN = 5  # how pytest ends where no test has the name that was asked for

# Programs that judge the sources; GPL ones are run, never imported.
LINTERS = (
    "ruff check .",
    "ruff format --check .",
    "mypy",
    "lint-imports",
    "yamllint --strict inventories playbooks .yamllint",
    "ansible-lint --offline --profile production --strict playbooks",
    "shellcheck .ci/run bench/bootstrap.sh",
)


def test(context: Context, only: str = "", match: str = "", all: bool = False) -> None:  # noqa: A002, FBT001, FBT002  # invoke reads the option --all from it
    """Run the project's own tests: linters and types, units, and the real cluster in the lab."""
    parts = [only] if only else ["lint", "unit", "e2e", "faults"]
    path = os.pathsep.join((str(BIN), os.environ.get("PATH", os.defpath)))
    with context.cd(ROOT):
        if "lint" in parts:
            for linter in LINTERS:
                context.run(linter, echo=True, env={"PATH": path, "ANSIBLE_LIBRARY": "playbooks/library"})
        programs = _programs(every=all) if parts != ["lint"] else ""
        # Labs share this machine: one process runs their tests, in their order.
        labs = " ".join(f"tests/{part}" for part in ("e2e", "faults") if part in parts)
        units = "tests/unit --numprocesses auto --dist worksteal" if "unit" in parts else ""
        environment = {"PATH": path, "KHARDEN_PROGRAMS": programs, "KHARDEN_ALL": "1" if all else ""}
        _pytest(context, [each for each in (units, labs) if each], match, environment)


def _pytest(context: Context, calls: Sequence[str], match: str, environment: dict[str, str]) -> None:
    """Run it with each, until one fails; what is chosen by its name must be in one of them, not in each."""
    ends: list[int] = []
    for call in calls:
        command = f"{sys.executable} -m pytest {call}" + (f" -k '{match}'" if match else "")
        done = context.run(command, echo=True, env=environment, warn=True)
        ends.append(0 if done is None else done.exited)  # a result is false where it failed
        if ends[-1] and not (match and ends[-1] == NONE_CHOSEN):
            raise Exit(code=ends[-1])
    if ends and 0 not in ends:
        raise Exit(code=NONE_CHOSEN)


def _programs(*, every: bool) -> str:
    """A folder with the real programs that judge what is rendered, built first where the cache lacks them.

    Those of other versions than KUBERNETES lie in folders of their own: its JUDGES, or with `every` all of them.
    """
    folder = cache_root() / "test-programs"
    store, own = Store(cache_root()), lock.load()
    _link(folder, store, fetch(KUBERNETES, "amd64", HERE, store=store, progress=Lines()).programs)
    for version in own.versions:
        if version == KUBERNETES:
            continue
        with Maker(Record(own, "amd64", store), HERE, Lines()) as maker:
            wanted = [each for each in own.kubernetes(version).programs if every or each.name in JUDGES]
            _link(folder / version, store, {each.name: maker.program(each) for each in wanted})
    return str(folder)


def _link(folder: Path, store: Store, programs: Mapping[str, File]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in programs.items():
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(store.path(file.sha256))


def bench(context: Context, only: str = "") -> None:
    """Measure speed and memory, each beside its baseline, and write docs/performance.md."""
    with context.cd(ROOT):
        context.run(f"{sys.executable} -m bench {only.replace(',', ' ')}".rstrip(), echo=True)


namespace = collection(ROOT, default_cluster="lab")
namespace.add_task(
    Task(
        test,
        help={
            "only": "lint, unit, e2e or faults (default: all of them)",
            "match": "pytest's -k: names of tests",
            "all": "every program of every Kubernetes version, and a cluster of each: much longer",
        },
    )
)
namespace.add_task(Task(bench, help={"only": "of render, small, large and fleet, divided by commas (default: all)"}))
