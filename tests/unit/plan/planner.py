"""Plans of cluster.yaml files that a test writes."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import yaml

from kharden.plan.cluster import make
from kharden.spec.load import load

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.plan.facts import LabFacts
    from kharden.plan.model import ClusterPlan

# For each kind of cluster: nodeCIDRs, podCIDRs and serviceCIDRs.
NETWORKS = {
    "IPv4": (["192.0.2.0/24"], ["10.200.0.0/16"], ["10.96.0.0/16"]),
    "IPv6": (["2001:db8:1::/64"], ["2001:db8:2::/56"], ["2001:db8:3::/112"]),
    "IPv4 and IPv6": (
        ["192.0.2.0/24", "2001:db8:1::/64"],
        ["10.200.0.0/16", "2001:db8:2::/56"],
        ["10.96.0.0/16", "2001:db8:3::/112"],
    ),
    "IPv6 and IPv4": (
        ["2001:db8:1::/64", "192.0.2.0/24"],
        ["2001:db8:2::/56", "10.200.0.0/16"],
        ["2001:db8:3::/112", "10.96.0.0/16"],
    ),
}


def host_key(number: int) -> str:
    """A public key that no two numbers share."""
    name = b"ssh-ed25519"
    blob = struct.pack(">I", len(name)) + name + struct.pack(">I", 32) + number.to_bytes(32, "big")
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def _role(before: int, left: int, control_planes: int, etcd: int) -> str:
    if before < control_planes:
        return "control-plane"
    return "etcd" if left <= etcd else "worker"


@dataclass(frozen=True)
class Planner:
    """Writes a cluster.yaml, loads it and makes its plan."""

    folder: Path

    def __call__(
        self,
        *,
        offsets: tuple[int, ...] = (11, 21),
        control_planes: int = 1,
        etcd: int = 0,
        networks: str = "IPv4",
        lab: LabFacts | None = None,
        ssh: dict[str, Any] | None = None,
        **sections: Any,  # noqa: ANN401  # sections of cluster.yaml are open
    ) -> ClusterPlan:
        """The plan of nodes at `offsets` in each range of nodes; first control planes, last machines of etcd."""
        ranges = dict(zip(("nodeCIDRs", "podCIDRs", "serviceCIDRs"), NETWORKS[networks], strict=True))
        network = ranges | sections.pop("network", {})
        home, *more = map(ip_network, network["nodeCIDRs"])
        nodes = [
            {
                "name": f"n{offset}",
                "address": str(home[offset]),
                "role": _role(number, len(offsets) - number, control_planes, etcd),
            }
            | ({"secondAddress": str(more[0][offset])} if more else {})
            | ({} if lab else {"ssh": {"hostKeys": [host_key(offset)], **(ssh or {})}})
            for number, offset in enumerate(offsets)
        ]
        spec = {"kubernetes": {"version": "1.36.3"}, "nodes": nodes, "network": network} | sections
        if lab:
            spec["lab"] = {}
        document = {"apiVersion": "kharden.dev/v1", "kind": "Cluster", "metadata": {"name": "test"}, "spec": spec}
        path = self.folder / "cluster.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False, width=1000), encoding="utf-8")
        loaded = load(path)
        return make(loaded.cluster, loaded.digest, lab)
