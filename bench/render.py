"""Render clusters of 10 and 1,000 nodes, keys and certificates included: seconds and memory, each side by side.

The baseline is the same work for 10 nodes: what one node more costs must not grow with their number.
"""

from __future__ import annotations

import base64
import json
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

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


def specification(nodes: int) -> str:
    """A cluster of three control planes and `nodes` - 3 workers."""
    rows = "".join(
        f"    - {{name: node-{number}, address: 10.96.{number // 250}.{number % 250 + 1}, "
        f"role: {'control-plane' if number < 3 else 'worker'}, ssh: {{hostKeys: [{host_key(number)}]}}}}\n"  # noqa: PLR2004  # three
        for number in range(nodes)
    )
    return (
        "apiVersion: kharden.dev/v1\nkind: Cluster\nmetadata: {name: bench}\nspec:\n  kubernetes: {version: 1.36.3}\n"
        f"  nodes:\n{rows}  network:\n    nodeCIDRs: [10.96.0.0/16]\n    podCIDRs: [172.16.0.0/12]\n"
        "    serviceCIDRs: [10.32.0.0/16]\n    plugin: none\n"
    )


def measure(nodes: int) -> dict[str, float]:
    """Seconds from cluster.yaml to a whole build/, and the process's peak so far."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "inventories/bench"
        folder.mkdir(parents=True)
        path = folder / "cluster.yaml"
        path.write_text(specification(nodes), encoding="utf-8")
        identities, _ = load_or_create_identity({"HOME": name}, create=STORES)
        begun = time.monotonic()
        loaded = load(path)
        plan = make(loaded.cluster, loaded.digest, None)
        secrets, _ = load_or_create(plan, folder / "secrets", identities, datetime.now(UTC))
        shares = {node.name: for_node(secrets, node) for node in plan.nodes}
        build = render_cluster(plan, shares, {"amd64": SUPPLY}, Path(name) / "build")
        write(build, Path(name) / "build", identities.recipients)
        seconds = time.monotonic() - begun
    return {
        "nodes": nodes,
        "seconds": round(seconds, 2),
        "milliseconds_a_node": round(1000 * seconds / nodes, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    for count in (10, 1000):
        print(json.dumps(measure(count)))  # noqa: T201  # its output is what it is for
