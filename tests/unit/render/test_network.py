"""Clusters whose network of pods is the user's own."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kharden.errors import InputError, IntegrityError
from kharden.pki.views import for_node
from kharden.plan.arguments import controller_manager
from kharden.render.cluster import render_cluster
from kharden.render.pinned import read_network
from kharden.render.plugin_manifest import examined
from kharden.spec.problems import SpecError
from tests.unit.plan.planner import Planner

from .stand_ins import PLACE, rendered, stand_ins, supplied
from .test_programs import texts

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.plan.model import ClusterPlan

CONTENT = b"kind: Namespace\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def planned_with(folder: Path, **network: Any) -> ClusterPlan:  # noqa: ANN401  # the section is open
    own = folder / "test"
    own.mkdir()
    return Planner(own)(network=network)


def test_without_a_plugin_there_is_none_of_ours(tmp_path: Path) -> None:
    build = rendered(planned_with(tmp_path, plugin="none"))
    paths = {file.path for node in build.nodes for file in node.files}
    assert not paths & {"/etc/cni/net.d/10-kharden.conflist", "/etc/systemd/system/kharden-routes.service"}
    for content in texts(build, "/etc/nftables.d/kharden.nft").values():
        assert "cni0" not in content
        assert "ip saddr $pods4 accept" in content
    inventory = yaml.safe_load(build.ansible["hosts.yaml"].replace(b"!unsafe", b""))
    found = inventory["all"]["vars"]
    assert (found["kharden_network_routed"], found["kharden_network_brought"]) == (False, False)


@pytest.mark.parametrize(("plugin", "hands_out"), [("routed", "false"), ("none", "true")])
def test_ranges_are_handed_out_by_one_alone(tmp_path: Path, plugin: str, hands_out: str) -> None:
    plan = planned_with(tmp_path, plugin=plugin)
    content = texts(rendered(plan), "/etc/kharden/kubeadm/init.yaml")[plan.nodes[0].name]
    (cluster,) = (one for one in yaml.safe_load_all(content) if one["kind"] == "ClusterConfiguration")
    arguments = {one["name"]: one["value"] for one in cluster["controllerManager"]["extraArgs"]}
    assert arguments["allocate-node-cidrs"] == hands_out
    assert bool(plan.nodes[0].pod_ranges) is (plugin == "routed")


@pytest.mark.parametrize("networks", ["IPv4", "IPv6", "IPv6 and IPv4"])
def test_ranges_that_are_handed_out_have_a_size_for_each_family(tmp_path: Path, networks: str) -> None:
    folder = tmp_path / "test"
    folder.mkdir()
    plan = Planner(folder)(networks=networks, network={"plugin": "none"})
    sizes = {one.name: one.value for one in controller_manager(plan) if "mask" in one.name}
    known = {"node-cidr-mask-size-ipv4": "24", "node-cidr-mask-size-ipv6": "64"}
    assert sizes == {name: size for name, size in known.items() if name.replace("ipv", "IPv")[-4:] in networks}


@pytest.mark.parametrize(
    ("networks", "node_ip"), [("IPv6", "2001:db8:1::b"), ("IPv6 and IPv4", "2001:db8:1::b,192.0.2.11")]
)
def test_a_kubelet_and_its_certificate_have_every_address_of_the_node(
    tmp_path: Path, networks: str, node_ip: str
) -> None:
    folder = tmp_path / "test"
    folder.mkdir()
    build = rendered(Planner(folder)(networks=networks))
    for path, nodes in (("/etc/kharden/kubeadm/init.yaml", ["n11"]), ("/etc/kharden/kubeadm/join.yaml", ["n21"])):
        for node in nodes:
            documents = list(yaml.safe_load_all(texts(build, path)[node]))
            (flag,) = [one for one in documents[0]["nodeRegistration"]["kubeletExtraArgs"] if one["name"] == "node-ip"]
            assert flag["value"] == (node_ip if node == "n11" else node_ip.replace("::b", "::15").replace(".11", ".21"))
    found = yaml.safe_load(build.ansible["hosts.yaml"].replace(b"!unsafe", b""))["all"]
    assert found["vars"]["kharden_serving"][0]["addresses"] == node_ip.split(",")
    assert found["hosts"]["n11"]["kharden_preflight"]["addresses"] == node_ip.split(",")
    assert found["hosts"]["n11"]["kharden_preflight"]["forwards_ipv6"] is True


def test_ports_are_opened_to_whom_they_are_meant_for(tmp_path: Path) -> None:
    ports = [{"port": 8472, "protocol": "udp"}, {"port": 9100, "from": "pods"}]
    build = rendered(planned_with(tmp_path, plugin="none", ports=ports))
    for content in texts(build, "/etc/nftables.d/kharden.nft").values():
        assert "ip saddr $nodes4 udp dport 8472 accept" in content
        assert "ip saddr $pods4 tcp dport 9100 accept" in content
        assert "fib daddr type local udp dport { 8472 } accept" in content


def test_the_pinned_file_is_among_the_manifests(tmp_path: Path) -> None:
    plan = planned_with(tmp_path, plugin="manifest", manifest={"path": "network.yaml", "sha256": DIGEST})
    (tmp_path / "network.yaml").write_bytes(CONTENT)
    content = read_network(plan.network.manifest, tmp_path)
    secrets = stand_ins(plan)
    shares = {node.name: for_node(secrets, node) for node in plan.nodes}
    build = render_cluster(plan, shares, {"amd64": supplied(plan.kubernetes)}, PLACE / plan.name, content)
    assert {one.name: one.content for one in build.cluster}["network.yaml"] == b"---\n" + CONTENT
    assert b"cluster/network.yaml" in build.ansible["hosts.yaml"]


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "network.yaml").write_bytes(CONTENT + b"#")
    found = hashlib.sha256(CONTENT + b"#").hexdigest()
    with pytest.raises(IntegrityError, match=f"network.yaml: its SHA-256 is {found}"):
        read_network(("network.yaml", DIGEST), tmp_path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "network.yaml")
    (tmp_path / "large").write_bytes(bytes((8 << 20) + 1))
    for name in ("none", "folder", "link", "large"):
        with pytest.raises(InputError, match=name):
            read_network((name, DIGEST), tmp_path)


def test_other_plugins_read_nothing(tmp_path: Path) -> None:
    assert read_network(None, tmp_path) is None


def refused(content: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        examined("network.yaml", content.encode(), ())
    assert "canary" not in str(caught.value.details)
    return [f"{one.line}:{one.column} {one.message}" for one in caught.value.problems]


SECRETS = """\
kind: Secret
metadata: {name: one}
data: {key: Y2FuYXJ5}
---
{kind: ServiceAccount, metadata: {name: two}}
---
# A key: it is the plugin's.
  kind: Secret
  metadata: {name: three}
  stringData: {key: canary}
---
kind: List
items:
  - {kind: Secret, metadata: {name: four}, data: {key: Y2FuYXJ5}}
---
{kind: Secret, metadata: {name: five}, type: Opaque}
---
base: &base {data: {key: Y2FuYXJ5}}
<<: *base
kind: Secret
"""


def test_a_secret_with_values_would_lie_in_the_clear() -> None:
    what = "this Secret has values, which would lie in the clear in build/"
    assert refused(SECRETS) == [f"1:1 {what}", f"8:3 {what}", f"12:1 {what}", f"18:1 {what}"]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("kind: Namespace\nkind: [canary\n", "3:1 a list or section in brackets isn't closed"),
        ("kind: !canary {}\n", "1:7 tags (!) are refused"),
        ("kind: 2026-13-45 # canary\n", "1:1 this can't be read as YAML"),
    ],
)
def test_what_is_no_yaml_is_refused_here_and_not_on_a_node(content: str, where: str) -> None:
    assert refused(content) == [where]


DAEMON = """\
kind: DaemonSet
spec:
  template:
    spec:
      hostNetwork: HOST
      containers:
        - ports: [{containerPort: 4240}, {containerPort: 8472, protocol: UDP}, {name: none}]
        - {name: other}
"""


def test_closed_ports_of_workloads_on_the_nodes_network_are_named() -> None:
    daemon = DAEMON.replace("HOST", "true").encode()
    (warning,) = examined("network.yaml", daemon, ())
    assert (warning.line, warning.message) == (
        1,
        "these ports of a workload on the nodes' own network are dropped by their firewall: 4240/TCP, 8472/UDP",
    )
    (warning,) = examined("network.yaml", daemon, {("udp", 8472)})
    assert warning.message.endswith(": 4240/TCP")
    assert examined("network.yaml", daemon, {("udp", 8472), ("tcp", 4240)}) == ()
    assert examined("network.yaml", DAEMON.replace("HOST", "false").encode(), ()) == ()
    odd = b"kind: Pod\nspec: {hostNetwork: true, containers: text}\n---\n- 1\n---\n"
    assert examined("network.yaml", odd, ()) == ()
