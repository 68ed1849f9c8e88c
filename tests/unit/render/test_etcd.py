"""etcd on machines of its own: what they hold, what control planes hold, and who reaches whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from kharden.pki.tree import leaves_of
from kharden.pki.views import ControlPlaneSecrets, EtcdSecrets, WorkerSecrets, for_node
from kharden.plan import arguments
from kharden.plan.firewall import admits, openings

from .stand_ins import GOLDEN, planned, rendered, stand_ins

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan, NodePlan
    from kharden.render.artefact import Artefact
    from kharden.render.cluster import Build


@pytest.fixture(scope="module")
def plan() -> ClusterPlan:
    return planned(GOLDEN / "etcd/cluster.yaml")


@pytest.fixture(scope="module")
def build(plan: ClusterPlan) -> Build:
    return rendered(plan)


def files(build: Build, node: str) -> dict[str, Artefact]:
    return {file.path: file for each in build.nodes if each.node == node for file in each.files}


def of(plan: ClusterPlan, name: str) -> NodePlan:
    return next(node for node in plan.nodes if node.name == name)


def test_each_kind_of_machine_has_a_share_of_its_own_type(plan: ClusterPlan) -> None:
    secrets = stand_ins(plan)
    shares = {node.name: for_node(secrets, node) for node in plan.nodes}
    assert {name: type(share) for name, share in shares.items()} == {
        **dict.fromkeys(("cp1", "cp2"), ControlPlaneSecrets),
        "w1": WorkerSecrets,
        **dict.fromkeys(("etcd1", "etcd2", "etcd3"), EtcdSecrets),
    }
    own = shares["etcd1"]
    assert isinstance(own, EtcdSecrets)
    assert [(file.path, file.store) for file in own.files] == [
        ("etcd/ca.crt", None),
        *((f"etcd/{name}.{end}", store) for name in ("server", "peer", "healthcheck-client")
          for end, store in (("crt", None), ("key", "leaves"))),
    ]  # fmt: skip


def test_leaves_are_a_control_planes_or_a_members(plan: ClusterPlan) -> None:
    member = {"etcd-server", "etcd-peer", "etcd-healthcheck-client"}
    assert {row.name for row in leaves_of(of(plan, "etcd1"))} == member
    of_control_plane = {row.name for row in leaves_of(of(plan, "cp1"))}
    assert "apiserver-etcd-client" in of_control_plane
    assert not of_control_plane & member
    assert leaves_of(of(plan, "w1")) == ()
    stacked = planned(GOLDEN / "lab/cluster.yaml")
    assert {row.name for row in leaves_of(of(stacked, "cp1"))} == of_control_plane | member


def test_no_machine_has_what_is_anothers(build: Build) -> None:
    held = {path for path in files(build, "etcd1") if path.endswith((".key", ".conf", ".crt"))}
    member = {f"{name}.{end}" for name in ("server", "peer", "healthcheck-client") for end in ("crt", "key")}
    folders = ("/etc/kubernetes/pki/etcd", "/etc/kharden/etcd")
    assert held == {f"{folder}/{name}" for folder in folders for name in ("ca.crt", *member)} | {
        "/etc/ssh/sshd_config.d/00-kharden.conf",
        "/etc/sysctl.d/90-kharden.conf",
        "/etc/systemd/journald.conf.d/90-kharden.conf",
        "/etc/sysusers.d/kharden.conf",
    }
    of_control_plane = {path for path in files(build, "cp1") if "etcd" in path}
    assert of_control_plane == {
        "/etc/kubernetes/pki/etcd/ca.crt",
        "/etc/kubernetes/pki/apiserver-etcd-client.crt",
        "/etc/kubernetes/pki/apiserver-etcd-client.key",
    }


def test_machines_of_etcd_get_its_programs_and_nothing_to_run_pods_with(build: Build) -> None:
    own = next(node for node in build.nodes if node.node == "etcd1")
    assert {item.path for item in own.programs} == {f"/usr/local/bin/{name}" for name in ("etcd", "etcdctl", "etcdutl")}
    assert (own.images, own.by_kubeadm) == ((), ())
    assert not [path for path in files(build, "etcd1") if "kubelet" in path or "containerd" in path or "cni" in path]
    control_plane = next(node for node in build.nodes if node.node == "cp1")
    assert not [image for image in control_plane.images if "/etcd:" in image.reference]
    placed = [item.path for item in control_plane.programs] + [item.path for item in control_plane.by_kubeadm]
    assert not [path for path in placed if "etcd" in path]


def test_what_a_member_reads_restarts_its_service(build: Build) -> None:
    own = files(build, "etcd1")
    restarting = {path for path, file in own.items() if "etcd.service" in file.restarts}
    assert restarting == {path for path in own if path.startswith("/etc/kharden/etcd/")} | {
        "/etc/systemd/system/etcd.service"
    }
    copies = [file for path, file in own.items() if path.startswith("/etc/kharden/etcd/")]
    assert {(file.owner, file.group, file.mode) for file in copies} == {("979", "979", 0o400)}


def test_its_flags_are_those_that_kubeadm_gives_a_member(build: Build, plan: ClusterPlan) -> None:
    """What isn't kubeadm's own is the same list for both kinds; the rest is in test_matrix.py, where etcd judges it."""
    flags = {flag.name: flag.value for flag in arguments.etcd_alone(plan, of(plan, "etcd1"))}
    assert {flag.name: flag.value for flag in arguments.etcd(plan)}.items() <= flags.items()
    unit = files(build, "etcd1")["/etc/systemd/system/etcd.service"].content.decode()
    assert all(f"--{name}={value}" in unit for name, value in flags.items())
    # Only apply says that a store begins.
    assert "initial-cluster" not in unit


def test_control_planes_are_told_all_members_and_no_local_one(build: Build) -> None:
    for node in ("cp1", "cp2", "w1"):
        content = files(build, node)["/etc/kharden/kubeadm/init.yaml"].content
        (cluster,) = (each for each in yaml.safe_load_all(content) if each["kind"] == "ClusterConfiguration")
        assert list(cluster["etcd"]) == ["external"]
        assert cluster["etcd"]["external"]["endpoints"] == [f"https://192.0.2.{host}:2379" for host in (31, 32, 33)]


@pytest.mark.parametrize(
    ("port", "asker", "admitted"),
    [
        (2379, "cp2", True),
        (2379, "etcd2", True),
        (2379, "w1", False),
        (2380, "etcd3", True),
        (2380, "cp1", False),
        (10250, "cp1", False),
    ],
)
def test_who_reaches_a_member(plan: ClusterPlan, port: int, asker: str, admitted: bool) -> None:  # noqa: FBT001  # a parameter of pytest's
    places = [place for one in openings(plan, of(plan, "etcd1")) if one.port == port for place in one.places]
    assert admits(plan, tuple(places), of(plan, asker).address) is admitted


def test_machines_of_etcd_are_no_nodes_to_others(plan: ClusterPlan) -> None:
    own = of(plan, "etcd1").address
    for name in ("cp1", "w1"):
        for one in openings(plan, of(plan, name)):
            assert one.port == 22 or not admits(plan, one.places, own)
        assert own not in [route.via for route in of(plan, name).routes]
    assert of(plan, "etcd1").routes == of(plan, "etcd1").pod_ranges == of(plan, "etcd1").labels == ()
