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
    node = found["children"]["control_planes"]["hosts"]["n11"]
    assert node["kharden_addresses"] == node_ip.split(",")
    assert node["kharden_preflight"]["forwards_ipv6"] is True


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
