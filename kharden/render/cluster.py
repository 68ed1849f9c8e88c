"""Plan, secrets and artifacts → everything that build/<cluster>/ holds, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kharden.pki.views import ControlPlaneSecrets
from kharden.plan import transport
from kharden.render.artefact import ByKubeadm, Folder, Image, NodeFiles, Program
from kharden.render.control_plane import ETCD_OWNER, ETCD_PKI, api_server_files, kubeconfigs, pki_files
from kharden.render.firewall import places_of
from kharden.render.host import host_files
from kharden.render.inventory import inventory
from kharden.render.kubeadm import kubeadm_files
from kharden.render.manifests import cluster_manifests, manifest_location, network_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kharden.pki.views import WorkerSecrets
    from kharden.plan.model import Architecture, ClusterPlan, NodePlan
    from kharden.render.firewall import Places
    from kharden.render.manifests import Manifest

_BIN = "/usr/local/bin"
_CNI_BIN = "/opt/cni/bin"
_CNI = ("bridge", "host-local", "loopback", "portmap")
# Programs by node role, where they lie and what has to start again when they change.
_COMMON = ("containerd", "containerd-shim-runc-v2", "ctr", "kubeadm", "kubectl", "kubelet")
_CONTROL_PLANE = ("etcdctl", "etcdutl")
_RESTARTS = {"containerd": ("containerd.service",), "kubelet": ("kubelet.service",)}
_WORKER_IMAGES = ("kube-proxy", "coredns", "pause")
_BY_KUBEADM = ("/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeadm-flags.env")
_STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclass(frozen=True, slots=True)
class StoredProgram:
    """A program in the cache of artifacts: hex digest and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class LockId:
    """Which lock of artifacts decided: its serial and digest."""

    serial: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Supply:
    """What the cache of artifacts holds for one architecture: programs by name, and images."""

    programs: Mapping[str, StoredProgram]
    images: tuple[Image, ...]
    lock: LockId

    def image(self, name: str) -> Image:
        """The image whose repository ends in `name`."""
        return next(image for image in self.images if _image_name(image) == name)


@dataclass(frozen=True, slots=True)
class Build:
    """The contents of build/<cluster>/."""

    plan: ClusterPlan
    nodes: tuple[NodeFiles, ...]
    cluster: tuple[Manifest, ...]
    ansible: Mapping[str, bytes]
    lock: LockId


def render_cluster(
    plan: ClusterPlan,
    secrets: Mapping[str, ControlPlaneSecrets | WorkerSecrets],
    supplies: Mapping[Architecture, Supply],
    folder: Path,
    network: bytes | None = None,
) -> Build:
    """Everything of a cluster.

    Args:
        plan: the cluster.
        secrets: each node's share.
        supplies: programs and images, by architecture.
        folder: where the build will lie; the ssh configuration names its own neighbours.
        network: the file of plugin "manifest", already held against its digest.
    """
    places = places_of(plan)
    nodes = tuple(_node(plan, node, secrets[node.name], supplies[node.architecture], places) for node in plan.nodes)
    manifests = (*cluster_manifests(plan), *network_manifest(network))
    ansible = {
        "hosts.yaml": inventory(plan, nodes, tuple(map(manifest_location, manifests))),
        "known_hosts": transport.known_hosts(plan).encode(),
        "ssh_config": transport.ssh_config(plan, folder / "ansible").encode(),
    }
    return Build(plan, nodes, manifests, ansible, next(iter(supplies.values())).lock)


def _node(
    plan: ClusterPlan,
    node: NodePlan,
    secrets: ControlPlaneSecrets | WorkerSecrets,
    supply: Supply,
    places: Places,
) -> NodeFiles:
    tags = {name: supply.image(name).reference.rpartition(":")[2] for name in ("coredns", "etcd")}
    files = (*host_files(plan, node, secrets.authority, supply.image("pause").reference, places),)
    if isinstance(secrets, ControlPlaneSecrets):  # a worker's share has no field for a key
        files += (*api_server_files(plan, secrets), *pki_files(secrets), *kubeconfigs(plan, node, secrets))
    repositories = [image.reference.rpartition(":")[0] for image in supply.images]
    files += kubeadm_files(plan, node, tags, repositories)
    return NodeFiles(
        node=node.name,
        folders=_folders(node),
        programs=_programs(node, supply),
        files=files,
        images=tuple(
            image for image in supply.images if node.role == "control-plane" or _image_name(image) in _WORKER_IMAGES
        ),
        by_kubeadm=_by_kubeadm(node),
    )


def _image_name(image: Image) -> str:
    return image.reference.rpartition("/")[2].partition(":")[0]


def _folders(node: NodePlan) -> tuple[Folder, ...]:
    common = (
        Folder("/var/lib/kharden", 0o700),
        Folder("/etc/kharden"),
        Folder("/etc/kharden/kubeadm", 0o700),
        Folder("/etc/kharden/kubeadm/patches", 0o700),
        Folder("/etc/kubernetes"),
        Folder("/etc/kubernetes/pki"),
        Folder("/etc/kubernetes/manifests", 0o700),
        Folder("/opt/cni/bin"),
        Folder("/etc/cni/net.d", 0o700),
    )
    if node.role == "worker":
        return common
    return (
        *common,
        Folder("/etc/kharden/api", 0o700),
        Folder(ETCD_PKI, 0o700, ETCD_OWNER, ETCD_OWNER, ("etcd-own-user",)),
        Folder("/etc/kubernetes/pki/etcd"),
        Folder("/var/lib/etcd", 0o700, ETCD_OWNER, ETCD_OWNER, ("etcd-data-directory",)),
        Folder("/var/log/kubernetes", 0o700),
        Folder("/var/log/kubernetes/audit", 0o700, controls=("apiserver-audit-log",)),
    )


def _programs(node: NodePlan, supply: Supply) -> tuple[Program, ...]:
    names = _COMMON + (_CONTROL_PLANE if node.role == "control-plane" else ())
    paths = [(f"{_BIN}/{name}", name) for name in names] + [(f"{_CNI_BIN}/{name}", name) for name in _CNI]
    return tuple(
        Program(path, supply.programs[name].sha256, supply.programs[name].size, _RESTARTS.get(name, ()))
        for path, name in paths
    )


def _by_kubeadm(node: NodePlan) -> tuple[ByKubeadm, ...]:
    paths = list(_BY_KUBEADM)
    if node.role == "control-plane":
        paths += [f"/etc/kubernetes/manifests/{name}.yaml" for name in _STATIC_PODS]
    else:
        paths.append("/etc/kubernetes/pki/ca.crt")
    return tuple(ByKubeadm(path) for path in paths)
