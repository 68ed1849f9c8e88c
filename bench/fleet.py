"""Many nodes: booted lab nodes with real units, sshd, firewall and all files, but with stubs for Kubernetes' programs.

Fifty kubelets don't fit on one machine. A stub says what a program of a whole cluster would say (bench/stub.py), so
kharden does all that it does for real ones; what is left out is the nodes' own work, such as hashing large programs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from bench import measure
from bench.lab import Bench, ping
from bench.measure import Part, Run, best
from bench.render import SUPPLY
from kharden.artifacts.store import cache_root
from kharden.commands import make_plan
from kharden.pki.bundle import load_or_create
from kharden.pki.views import for_node
from kharden.place import Place
from kharden.render.artefact import Image
from kharden.render.cluster import StoredProgram, Supply, render_cluster
from kharden.render.output import write
from kharden.seal import STORES, load_or_create_identity
from tests.e2e.sites import program

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZES = (5, 20, 50)
_NAME = "bench-fleet"
_TIMES = 3
_FORKS = 10  # as many as kharden has (kharden/apply/runner.py)
_LAB_PHASE = "Start the lab's nodes"
# In Python's place: what Ansible's module says is kept, and said again without it from when the file `replay` is there.
# Ansible gives its module to a Python without arguments; others give it some.
_PYTHON = """\
#!/bin/sh
[ $# -eq 0 ] || exec /usr/bin/bench-python "$@"
if [ -e /run/bench-replay ]; then
    cat > /dev/null
    exec cat /run/bench-answer
fi
/usr/bin/bench-python | tee /run/bench-answer
"""
_RECORD = (
    f"mv /usr/bin/python3 /usr/bin/bench-python; printf %s {shlex.quote(_PYTHON)} > /usr/bin/python3; "
    "chmod 0755 /usr/bin/python3"
)
_REPLAY = "touch /run/bench-replay"


def _specification(nodes: int) -> str:
    rows = "".join(
        f"    - {{name: {'cp1' if number == 1 else f'w{number - 1}'}, address: 10.93.0.{10 + number}, "
        f"role: {'control-plane' if number == 1 else 'worker'}}}\n"
        for number in range(1, nodes + 1)
    )
    return (
        f"apiVersion: kharden.dev/v1\nkind: Cluster\nmetadata: {{name: {_NAME}}}\nspec:\n"
        f"  kubernetes: {{version: 1.36.3}}\n  nodes:\n{rows}  network:\n    nodeCIDRs: [10.93.0.0/24]\n"
        "    podCIDRs: [10.200.0.0/16]\n    serviceCIDRs: [10.201.0.0/16]\n  lab: {}\n"
    )


def _store(cache: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    (cache / "objects" / "sha256" / digest).write_bytes(content)
    return digest


def _supply(cache: Path, names: list[str]) -> Supply:
    """Stubs in a cache of their own; what an archive holds is the line that the runtime then shows."""
    (cache / "objects" / "sha256").mkdir(parents=True)
    (cache / "trees").symlink_to(cache_root() / "trees")
    stub = Path(__file__).with_name("stub.py").read_bytes().replace(b"BENCH_NODES", " ".join(names).encode())
    placed = StoredProgram(_store(cache, stub), len(stub))
    images = []
    for image in SUPPLY.images:
        digest = f"sha256:{hashlib.sha256(image.reference.encode()).hexdigest()}"
        row = f"{image.reference} stub {digest}\n".encode()
        images.append(Image(image.reference, digest, _store(cache, row), len(row)))
    return Supply(dict.fromkeys(SUPPLY.programs, placed), tuple(images), SUPPLY.lock)


def _render(site: Path, cache: Path) -> None:
    place = Place(site, _NAME)
    identities, _ = load_or_create_identity({"KHARDEN_IDENTITY": f"{site}/identity/"}, create=STORES)
    plan = make_plan(place)
    secrets, _ = load_or_create(plan, place.secrets, identities, datetime.now(UTC))
    shares = {node.name: for_node(secrets, node) for node in plan.nodes}
    supply = _supply(cache, [node.name for node in plan.nodes])
    write(render_cluster(plan, shares, {"amd64": supply}, place.build), place.build, secrets.recipients)


@contextmanager
def _fleet(nodes: int) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as name:
        site, cache = Path(name) / "site", Path(name) / "cache"
        site.mkdir()
        with program(site, _NAME, cluster=_specification(nodes)) as own:
            own("lab.up", "--yes")
            _render(site, cache)
            os.environ["KHARDEN_CACHE"] = str(cache)
            try:
                yield Bench(own)
            finally:
                del os.environ["KHARDEN_CACHE"]


def _without_lab(run: Run) -> float:
    """Seconds of a run less what the lab took to see that its nodes are up."""
    return run.seconds - float(json.loads(run.output)["seconds"].get(_LAB_PHASE, 0.0))


def _again(bench: Bench, size: int) -> tuple[float, int]:
    """Seconds and MiB of an apply with nothing to do on the first `size` nodes, without the lab's own work."""
    limit = f"--limit={','.join(bench.build.nodes[:size])}"
    runs = [bench.run("apply", "--yes", "--json", limit) for _ in range(_TIMES)]
    if any(json.loads(run.output)["changed"] for run in runs):
        raise SystemExit("a run with nothing to do changed something")
    return min(map(_without_lab, runs)), best(runs).peak_mib


def _pinged(bench: Bench, size: int) -> float:
    nodes = ",".join(bench.build.nodes[:size])
    return best([ping(bench, limit=nodes, forks=_FORKS) for _ in range(_TIMES)]).seconds


def _replay(bench: Bench) -> None:
    """Let workers answer what they answered in one more run; the control plane also keeps the cluster's lock."""
    _on_workers(bench, _RECORD)
    bench.run("apply", "--yes", "--json")
    _on_workers(bench, _REPLAY)


def _on_workers(bench: Bench, command: str) -> None:
    with bench.connections() as ssh, ThreadPoolExecutor(_FORKS) as pool:
        list(pool.map(lambda name: measure.run(["ssh", *ssh, name, command]), bench.build.nodes[1:]))


def _more(found: list[float]) -> list[str]:
    """What a node more took, from each size to the next one."""
    steps = zip(pairwise(_SIZES), pairwise(found), strict=True)
    return ["", *(f"{(after - before) / (more - less):.2f} s" for (less, more), (before, after) in steps)]


def _rows() -> list[tuple[str, ...]]:
    header = ("nodes", "what", "seconds", "a node more", "ping", "a node more", "controller's memory")
    with _fleet(max(_SIZES)) as bench:
        first = bench.run("apply", "--yes", "--json")
        fresh = f"{_without_lab(first):.1f} s"
        rows: list[tuple[str, ...]] = [
            header,
            (str(max(_SIZES)), "apply, fresh", fresh, "", "", "", f"{first.peak_mib} MiB"),
        ]
        pings = [_pinged(bench, size) for size in _SIZES]
        rows += _table("apply, nothing to do", [_again(bench, size) for size in _SIZES], pings)
        _replay(bench)
        rows += _table("apply, nothing to do, answers replayed", [_again(bench, size) for size in _SIZES], [])
    return rows


def _table(what: str, found: list[tuple[float, int]], pings: list[float]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    more, beside = _more([seconds for seconds, _ in found]), _more(pings) if pings else []
    for at, (size, (seconds, memory)) in enumerate(zip(_SIZES, found, strict=True)):
        pinged = (f"{pings[at]:.1f} s", beside[at]) if pings else ("", "")
        rows.append((str(size), what, f"{seconds:.1f} s", more[at], *pinged, f"{memory} MiB"))
    return rows


PARTS = (Part("fleet", _rows),)
