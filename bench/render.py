"""Rendering thousands of nodes, keys and certificates included.

`python -m bench.render NODES PLUGIN` measures one size in a process of its own and prints what it found.
"""

from __future__ import annotations

import base64
import itertools
import json
import resource
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import Part, run
from kharden.pki.bundle import load_or_create
from kharden.pki.views import for_node
from kharden.plan.cluster import make
from kharden.render.artefact import Image
from kharden.render.cluster import LockId, StoredProgram, Supply, render_cluster
from kharden.render.output import write
from kharden.seal import STORES, load_or_create_identity
from kharden.spec.load import load

SUPPLY = Supply(
    programs={
        name: StoredProgram("0" * 64, 1)
        for name in (
            "containerd", "containerd-shim-runc-v2", "ctr", "kubeadm", "kubectl", "kubelet", "etcdctl", "etcdutl",
            "bridge", "host-local", "loopback", "portmap",
        )
    },
    images=tuple(
        Image(f"registry.k8s.io/{name}:v1", f"sha256:{'0' * 64}", "0" * 64, 1)
        for name in (
            "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "etcd", "pause",
        )
    ),
    lock=LockId(1, "0" * 64),
)  # fmt: skip


def host_key(number: int) -> str:
    """A host key of its own for each node: the form is right, nobody has the other half."""
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0 " + number.to_bytes(32, "big")
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def specification(nodes: int, plugin: str) -> str:
    """A cluster of three control planes and `nodes` - 3 workers."""
    rows = "".join(
        f"    - {{name: node-{number}, address: 10.96.{number // 250}.{number % 250 + 1}, "
        f"role: {'control-plane' if number < 3 else 'worker'}, ssh: {{hostKeys: [{host_key(number)}]}}}}\n"  # noqa: PLR2004  # three
        for number in range(nodes)
    )
    return (
        "apiVersion: kharden.dev/v1\nkind: Cluster\nmetadata: {name: bench}\nspec:\n  kubernetes: {version: 1.36.3}\n"
        f"  nodes:\n{rows}  network:\n    nodeCIDRs: [10.96.0.0/16]\n    podCIDRs: [100.64.0.0/10]\n"
        f"    serviceCIDRs: [10.32.0.0/16]\n    plugin: {plugin}\n"
    )


def measure(nodes: int, plugin: str) -> dict[str, float]:
    """Seconds from cluster.yaml to a whole build/, the process's peak, and seconds of a bare copy of what was made."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "inventories/bench"
        folder.mkdir(parents=True)
        path = folder / "cluster.yaml"
        path.write_text(specification(nodes, plugin), encoding="utf-8")
        identities, _ = load_or_create_identity({"HOME": name}, create=STORES)
        begun, busy = time.monotonic(), time.process_time()
        loaded = load(path)
        plan = make(loaded.cluster, loaded.digest, None)
        secrets, _ = load_or_create(plan, folder / "secrets", identities, datetime.now(UTC))
        shares = {node.name: for_node(secrets, node) for node in plan.nodes}
        build = render_cluster(plan, shares, {"amd64": SUPPLY}, Path(name) / "build")
        write(build, Path(name) / "build", identities.recipients)
        seconds, busy = time.monotonic() - begun, time.process_time() - busy
        begun = time.monotonic()
        shutil.copytree(Path(name) / "build", Path(name) / "copy")
        copied = time.monotonic() - begun
    return {
        "nodes": nodes,
        "seconds": seconds,
        "busy": busy,
        "copied": copied,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _apart(nodes: int, plugin: str, times: int) -> dict[str, float]:
    """The one of several that had the least to do, each in a process of its own: what others do only ever adds."""
    argv = [sys.executable, "-m", "bench.render", str(nodes), plugin]
    found = [json.loads(run(argv).output) for _ in range(times)]
    return min(found, key=lambda one: one["busy"])


# How many nodes, and how often: what is quick is done more often, since differences of it are told.
_SIZES = (("none", ((10, 5), (50, 5), (1000, 2), (5000, 1))), ("routed", ((10, 5), (50, 5), (1000, 2))))


def _rows() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (
            "nodes",
            "network",
            "seconds",
            "CPU",
            "CPU a node",
            "times that of 10",
            "CPU for a worker more",
            "times that from 10 to 50",
            "a bare copy of the files",
            "memory",
        )
    ]
    for plugin, sizes in _SIZES:
        found = [_apart(nodes, plugin, times) for nodes, times in sizes]
        rows += [_row(plugin, found[: place + 1]) for place in range(len(found))]
    return rows


def _row(plugin: str, found: list[dict[str, float]]) -> tuple[str, ...]:
    """The last of these, beside the first and beside what a worker more cost from the one before it."""
    first, last = found[0], found[-1]
    each = [one["busy"] / one["nodes"] for one in (first, last)]
    more = [
        (after["busy"] - before["busy"]) / (after["nodes"] - before["nodes"])
        for before, after in itertools.pairwise(found)
    ]
    return (
        f"{last['nodes']:,}",
        plugin,
        f"{last['seconds']:.1f} s",
        f"{last['busy']:.1f} s",
        f"{1000 * each[1]:.1f} ms",
        f"{each[1] / each[0]:.2f}",
        f"{1000 * more[-1]:.1f} ms" if more else "",
        f"{more[-1] / more[0]:.2f}" if more else "",
        f"{last['copied']:.1f} s",
        f"{last['peak_mib']} MiB",
    )


PARTS = (Part("render", _rows),)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), sys.argv[2])))  # noqa: T201  # its output is what it is for
