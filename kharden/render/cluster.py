"""Plan, secrets and artifacts → everything that build/<cluster>/ holds, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kharden.pki.views import ControlPlaneSecrets, EtcdSecrets
from kharden.plan import transport
from kharden.render.artefact import ByKubeadm, Folder, Image, NodeFiles, Program
from kharden.render.control_plane import api_server_files, kubeconfigs, pki_files
from kharden.render.etcd import UNIT, etcd_copies, etcd_folders, etcd_unit
from kharden.render.firewall import places_of
from kharden.render.host import machine_files, node_files
from kharden.render.inventory import inventory
from kharden.render.kubeadm import kubeadm_files
from kharden.render.manifests import cluster_manifests, manifest_location, network_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kharden.pki.views import Share
    from kharden.plan.model import Architecture, ClusterPlan, NodePlan
    from kharden.render.firewall import Places
    from kharden.render.manifests import Manifest

_BIN = "/usr/local/bin"
_CNI_BIN = "/opt/cni/bin"
_CNI = ("bridge", "host-local", "loopback", "portmap")
# Programs by what a machine does, where they lie and what has to start again when they change.
_NODE = ("containerd", "containerd-shim-runc-v2", "ctr", "kubeadm", "kubectl", "kubelet")
_MEMBER = ("etcdctl", "etcdutl")
_RESTARTS = {"containerd": ("containerd.service",), "kubelet": ("kubelet.service",), "etcd": (UNIT,)}
_WORKER_IMAGES = ("kube-proxy", "coredns", "pause")
_BY_KUBEADM = ("/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeadm-flags.env")
_STATIC_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


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
    secrets: Mapping[str, Share],
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


def _node(plan: ClusterPlan, node: NodePlan, secrets: Share, supply: Supply, places: Places) -> NodeFiles:
    files = machine_files(plan, node, places)
    if isinstance(secrets, EtcdSecrets):
        own = (*pki_files(secrets.files), *etcd_copies(node, secrets.files), etcd_unit(plan, node))
        return NodeFiles(
            node=node.name,
            folders=_folders(node),
            programs=_programs(node, supply),
            files=(*files, *own),
            images=(),
            by_kubeadm=(),
        )
    tags = {name: supply.image(name).reference.rpartition(":")[2] for name in ("coredns", "etcd")}
    files += node_files(plan, node, secrets.authority, supply.image("pause").reference)
    if isinstance(secrets, ControlPlaneSecrets):  # a worker's share has no field for a key
        files += (*api_server_files(plan, secrets), *pki_files(secrets.files))
        files += (*(etcd_copies(node, secrets.files) if node.etcd else ()), *kubeconfigs(plan, node, secrets))
    repositories = [image.reference.rpartition(":")[0] for image in supply.images]
    files += kubeadm_files(plan, node, tags, repositories)
    return NodeFiles(
        node=node.name,
        folders=_folders(node),
        programs=_programs(node, supply),
        files=files,
        images=tuple(image for image in supply.images if _runs(node, _image_name(image))),
        by_kubeadm=_by_kubeadm(node),
    )


def _runs(node: NodePlan, image: str) -> bool:
    """Whether pods of a node may need an image."""
    if image == "etcd":
        return node.etcd
    return node.role == "control-plane" or image in _WORKER_IMAGES


def _image_name(image: Image) -> str:
    return image.reference.rpartition("/")[2].partition(":")[0]


def _folders(node: NodePlan) -> tuple[Folder, ...]:
    machine = (Folder("/var/lib/kharden", 0o700), Folder("/etc/kharden"))
    if not node.kubelet:
        return (*machine, Folder("/etc/kubernetes"), Folder("/etc/kubernetes/pki"), *etcd_folders())
    common = (
        *machine,
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
        *(etcd_folders() if node.etcd else (Folder("/etc/kubernetes/pki/etcd"),)),
        Folder("/var/log/kubernetes", 0o700),
        Folder("/var/log/kubernetes/audit", 0o700, controls=("apiserver-audit-log",)),
    )


def _programs(node: NodePlan, supply: Supply) -> tuple[Program, ...]:
    names = (_NODE if node.kubelet else ("etcd",)) + (_MEMBER if node.etcd else ())
    paths = [(f"{_BIN}/{name}", name) for name in names]
    paths += [(f"{_CNI_BIN}/{name}", name) for name in _CNI if node.kubelet]
    return tuple(
        Program(path, supply.programs[name].sha256, supply.programs[name].size, _RESTARTS.get(name, ()))
        for path, name in paths
    )


def _by_kubeadm(node: NodePlan) -> tuple[ByKubeadm, ...]:
    paths = list(_BY_KUBEADM)
    if node.role == "control-plane":
        names = (("etcd",) if node.etcd else ()) + _STATIC_PODS
        paths += [f"/etc/kubernetes/manifests/{name}.yaml" for name in names]
    else:
        paths.append("/etc/kubernetes/pki/ca.crt")
    return tuple(ByKubeadm(path) for path in paths)
