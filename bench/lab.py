"""Real clusters in the lab: apply beside a bare script, apply and plan with nothing to do beside a ping, and verify.

It needs root, as the lab does, and artifacts in the cache (`invoke render` of a lab fills it).
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shlex
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import measure
from bench.measure import Part, Run, best, spread
from kharden.apply.build import BuildFolder, load
from kharden.apply.payload import payload
from kharden.artifacts.store import cache_root
from kharden.seal import load_or_create_identity
from tests.e2e.sites import CHECKOUT, program
from tests.e2e.states import differences, state, steady_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.sites import Program

_SMALL, _LARGE = ("bench-small", "lab-small", "10.76.0."), ("bench-large", "lab", "10.77.0.")
_SUBNET = "10.93.0."
_TIMES = 3
_KHARDEN = Path(sys.executable).with_name("kharden")


@dataclass(frozen=True)
class Bench:
    """A cluster of this benchmark's own, in a folder of its own."""

    program: Program

    @property
    def build(self) -> BuildFolder:
        """What was rendered last."""
        path = self.program.site / "build" / self.program.cluster
        return load(path, json.loads((path / "manifest.json").read_bytes())["specDigest"])

    @property
    def environment(self) -> dict[str, str]:
        """What makes kharden take this cluster."""
        return {"KHARDEN_CLUSTER": self.program.cluster, "KHARDEN_IDENTITY": f"{self.program.site}/identity/"}

    def run(self, *arguments: str) -> Run:
        """The program, measured."""
        return measure.run([_KHARDEN, *arguments], cwd=self.program.site, env=self.environment)

    def names(self, role: str) -> list[str]:
        """Nodes of a role."""
        return [name for name, node in self.build.manifest["nodes"].items() if node["role"] == role]

    def files(self, node: str) -> list[str]:
        """What lies on a node of ours, programs too."""
        return [entry["path"] for entry in self.build.files(node) if entry["kind"] != "directory"]

    @contextmanager
    def connections(self) -> Iterator[list[str]]:
        """Arguments of ssh for one connection a node."""
        with tempfile.TemporaryDirectory() as name:
            yield [
                *("-F", str(self.build.folder / "ansible" / "ssh_config")),
                *("-o", "ControlMaster=auto", "-o", "ControlPersist=5s", "-o", f"ControlPath={name}/%C"),
            ]


@contextmanager
def _bench(kind: tuple[str, str, str]) -> Iterator[Bench]:
    name, model, subnet = kind
    text = (CHECKOUT / "inventories" / model / "cluster.yaml").read_text(encoding="utf-8")
    text = text.replace(f"name: {model}\n", f"name: {name}\n").replace(subnet, _SUBNET)
    with tempfile.TemporaryDirectory() as site, program(Path(site), name, cluster=text) as own:
        own("render")
        yield Bench(own)


# --- the first apply


def _fresh(bench: Bench) -> None:
    bench.program("lab.down")
    bench.program("lab.up", "--yes")
    bench.program("render")  # nodes that were made anew have new host keys


def _by_kharden(bench: Bench) -> Run:
    """Apply, on fresh nodes."""
    _fresh(bench)
    return bench.run("apply", "--yes", "--json")


def _by_script(bench: Bench) -> Run:
    """The bare script, on fresh nodes; what it copies is laid out beforehand, in memory."""
    _fresh(bench)
    stage = Path(tempfile.mkdtemp(dir="/dev/shm"))  # keys are in it
    try:
        for node in bench.build.nodes:
            _lay_out(bench, node, stage / node)
        names = (" ".join(bench.names(role)) for role in ("control-plane", "worker"))
        return measure.run([Path(__file__).with_name("bootstrap.sh"), bench.build.folder, stage, *names])
    finally:
        shutil.rmtree(stage)


def _lay_out(bench: Bench, node: str, stage: Path) -> None:
    """A node's files as they shall lie there; programs and archives as links into the cache."""
    identities, _ = load_or_create_identity(bench.environment)
    entries = json.loads(gzip.decompress(base64.b64decode(payload(bench.build, node, identities))))["files"]
    objects = cache_root() / "objects" / "sha256"
    for part in ("files", "programs", "archives"):
        (stage / part).mkdir(parents=True)
    for entry in entries:
        kind = "programs" if entry["kind"] == "file" and "content" not in entry else "files"
        path = Path(f"{stage}/{kind}{entry['path']}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "programs":
            path.symlink_to(objects / entry["sha256"])
            continue
        if entry["kind"] == "directory":
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(base64.b64decode(entry["content"]))
        path.chmod(int(entry["mode"], 8))
        owner, group = (0 if name == "root" else int(name) for name in (entry["owner"], entry["group"]))
        os.chown(path, owner, group)
    for image in bench.build.manifest["nodes"][node]["images"]:
        (stage / "archives" / image["archiveSha256"]).symlink_to(objects / image["archiveSha256"])


# --- nothing to do


def _ping_and_hash(bench: Bench) -> Run:
    """What nobody can do without: reach each node by Ansible, and read the files to see that they are the same."""
    begun = ping(bench)
    with bench.connections() as ssh, ThreadPoolExecutor() as pool:
        hash_all = partial(_hash, bench, ssh)
        seconds = max(one.seconds for one in pool.map(hash_all, bench.build.nodes))
    return Run("", begun.seconds + seconds, begun.peak_mib)


def ping(bench: Bench, *, limit: str = "all", forks: int = 50) -> Run:
    """Reach nodes by Ansible, as many at a time, and run nothing on them but its own module."""
    inventory = bench.build.folder / "ansible" / "hosts.yaml"
    with bench.connections() as ssh:
        return measure.run(
            [
                *(sys.executable, "-m", "ansible", "adhoc", limit, "-i", inventory, "-m", "ansible.builtin.ping"),
                *("--forks", str(forks)),
            ],
            env={
                "ANSIBLE_PIPELINING": "1",
                "ANSIBLE_SSH_ARGS": shlex.join(ssh),
                "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            },
        )


def _hash(bench: Bench, ssh: list[str], node: str) -> Run:
    return measure.run(["ssh", *ssh, node, f"sha256sum {' '.join(map(shlex.quote, bench.files(node)))}"])


def _again(bench: Bench) -> list[tuple[str, ...]]:
    """Runs of apply and plan with nothing to do, beside the ping."""
    before = steady_state(bench.program.node, bench.build.nodes)
    plans = [bench.run("plan", "--json") for _ in range(_TIMES)]
    applies = [bench.run("apply", "--yes", "--json") for _ in range(_TIMES)]
    pings = [_ping_and_hash(bench) for _ in range(_TIMES)]
    if changed := differences(before, state(bench.program.node, bench.build.nodes)):
        raise SystemExit(f"a run with nothing to do changed something: {changed[0]}")
    rows: list[tuple[str, ...]] = []
    for name, runs in (("plan, nothing to do", plans), ("apply, nothing to do", applies)):
        told: dict[str, Any] = json.loads(runs[-1].output)
        tasks = str(max(told["tasks"].values()))
        rows.append((name, spread(runs), f"ping and sha256sum: {spread(pings)}", f"{best(runs).peak_mib} MiB", tasks))
    return rows


def _small() -> list[tuple[str, ...]]:
    with _bench(_SMALL) as bench:
        return _measured(bench)


def _large() -> list[tuple[str, ...]]:
    with _bench(_LARGE) as bench:
        rows = _measured(bench)
        return [*rows, _verified(bench)]


def _measured(bench: Bench) -> list[tuple[str, ...]]:
    # Who comes first finds little of the artifacts in memory, so each comes twice, and the quicker run counts. The rest
    # is measured on the cluster of the last.
    firsts = [_by_kharden(bench)]
    scripts = [_by_script(bench), _by_script(bench)]
    firsts.append(_by_kharden(bench))
    first, script = best(firsts), best(scripts)
    tasks = str(max(json.loads(first.output)["tasks"].values()))
    times = f"bare script: {spread(scripts)}, {first.seconds / script.seconds:.2f} times that"
    return [
        ("", "kharden", "baseline", "controller's memory", "tasks on a node, at most"),
        ("apply on fresh nodes", spread(firsts), times, f"{first.peak_mib} MiB", tasks),
        *_again(bench),
    ]


# --- verify


def _verified(bench: Bench) -> tuple[str, ...]:
    bench.program("verify")
    nodes = bench.build.nodes
    marks = [int(bench.program.node(node, _LOGINS)) for node in nodes]
    runs = [bench.run("verify", "--json") for _ in range(2)]
    logins = sum(int(bench.program.node(node, _LOGINS)) for node in nodes) - sum(marks)
    checks = sum(len(control["observations"]) for control in json.loads(runs[-1].output)["controls"])
    told = f"{checks} observations, {logins / len(runs):.0f} ssh connections"
    return ("verify", spread(runs), told, f"{best(runs).peak_mib} MiB", "")


# lab.shell, which asks for it, doesn't log in over ssh.
_LOGINS = "journalctl --unit=ssh.service --output=cat | grep -c Accepted"

PARTS = (Part("small", _small), Part("large", _large))
