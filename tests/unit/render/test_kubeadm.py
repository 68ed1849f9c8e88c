"""What kubeadm's configuration means; kubeadm itself judges it in test_matrix.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.unit.plan.planner import NETWORKS, Planner

from .stand_ins import facts, rendered

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan
    from kharden.render.cluster import Build


INIT, JOIN = "/etc/kharden/kubeadm/init.yaml", "/etc/kharden/kubeadm/join.yaml"
PATCHES = "/etc/kharden/kubeadm/patches"


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    folder = tmp_path_factory.mktemp("inventories") / "test"
    folder.mkdir()
    return Planner(folder)


@pytest.fixture(scope="module", params=[1, 3], ids=["one control plane", "three control planes"])
def control_planes(request: pytest.FixtureRequest) -> int:
    count: int = request.param
    return count


@pytest.fixture(scope="module", params=[*NETWORKS, "lab"])
def plan(request: pytest.FixtureRequest, planner: Planner, control_planes: int) -> ClusterPlan:
    offsets = (*range(11, 11 + control_planes), 21)
    if request.param == "lab":
        lab = facts(*(f"n{offset}" for offset in offsets))
        return planner(offsets=offsets, control_planes=control_planes, lab=lab)
    external = {"external": ["api.example.org", "198.51.100.9"]}
    return planner(offsets=offsets, control_planes=control_planes, networks=request.param, endpoint=external)


@pytest.fixture(scope="module")
def build(plan: ClusterPlan) -> Build:
    return rendered(plan)


def text(build: Build, node: str, path: str) -> str:
    files = next(each.files for each in build.nodes if each.node == node)
    return next(file.content for file in files if file.path == path).decode()


# --- what it means


def documents(build: Build, node: str, path: str) -> dict[str, Any]:
    return {document["kind"]: document for document in yaml.safe_load_all(text(build, node, path))}


def test_a_control_plane_joins_as_one_and_a_worker_does_not(build: Build, plan: ClusterPlan) -> None:
    for node in plan.nodes:
        if node.first:
            continue
        join = documents(build, node.name, JOIN)["JoinConfiguration"]
        if node.role == "worker":
            assert "controlPlane" not in join
        else:
            assert join["controlPlane"] == {"localAPIEndpoint": {"advertiseAddress": str(node.address)}}
        assert join["nodeRegistration"]["name"] == node.name
        own = ",".join(map(str, node.addresses))
        assert join["nodeRegistration"]["kubeletExtraArgs"] == [{"name": "node-ip", "value": own}]


def test_the_first_control_plane_can_join_only_where_there_are_others(build: Build, plan: ClusterPlan) -> None:
    paths = {file.path for file in build.nodes[0].files}
    assert plan.nodes[0].first
    assert (JOIN in paths) is (len(plan.control_planes) > 1)
    assert INIT in paths


def test_the_whole_cluster_reads_one_configuration(build: Build, plan: ClusterPlan) -> None:
    of_nodes = [documents(build, node.name, INIT) for node in plan.nodes]
    for kind in ("ClusterConfiguration", "KubeletConfiguration", "KubeProxyConfiguration"):
        assert all(documents[kind] == of_nodes[0][kind] for documents in of_nodes)
    networking = of_nodes[0]["ClusterConfiguration"]["networking"]
    assert networking["podSubnet"] == ",".join(map(str, plan.pod_cidrs))
    assert networking["serviceSubnet"] == ",".join(map(str, plan.service_cidrs))


def test_images_are_asked_for_under_the_tags_that_are_there(build: Build) -> None:
    cluster = documents(build, build.nodes[0].node, INIT)["ClusterConfiguration"]
    assert (cluster["dns"]["imageTag"], cluster["etcd"]["local"]["imageTag"]) == ("v1.14.7", "3.6.16-0")
    tags = {image.reference.rpartition("/")[2] for image in build.nodes[0].images}
    assert {f"coredns:{cluster['dns']['imageTag']}", f"etcd:{cluster['etcd']['local']['imageTag']}"} <= tags


def test_a_cgroup_of_version_1_is_taken_only_where_the_host_has_it(build: Build, plan: ClusterPlan) -> None:
    for node in plan.nodes:
        found = documents(build, node.name, INIT)
        ignored = found["InitConfiguration"]["nodeRegistration"]["ignorePreflightErrors"]
        kubelet = found["KubeletConfiguration"]
        assert (ignored, kubelet["failCgroupV1"], kubelet["cgroupDriver"]) == (
            (["SystemVerification"], False, "cgroupfs") if plan.lab else ([], True, "systemd")
        )
        assert kubelet["protectKernelDefaults"] is not plan.lab
