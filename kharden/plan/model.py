"""The plan: closed values, every default and every fact resolved. Nothing below asks the spec again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from kharden.plan.objects import NamespacePlan, TaintPlan  # noqa: TC001  # pydantic reads it at run time
from kharden.spec.types import IPAddress, IPNetwork  # noqa: TC001  # as above
from kharden.versions.contract import Contract
from kharden.versions.gates import known_to

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.controls.model import Duty
    from kharden.plan.policy import AdmissionPlan, AuditPlan, EncryptionPlan, KubeletPlan
    from kharden.spec.presets import Preset
    from kharden.versions.gates import Component

Role = Literal["control-plane", "worker", "etcd"]
Architecture = Literal["amd64", "arm64"]


@dataclass(frozen=True, slots=True)
class SshPlan:
    """How a machine is reached.

    Attributes:
        host_keys: "type base64"; the only ones taken.
        key: the private key to log in with, where one is named; ssh opens it, and knows the tilde.
        jump_host: the name of the jump host on the way.
    """

    user: str
    port: int
    host_keys: tuple[str, ...]
    key: Path | None
    jump_host: str | None = None

    @property
    def becomes(self) -> bool:
        """Whether who logs in has to become root there, with sudo."""
        return self.user != "root"


@dataclass(frozen=True, slots=True)
class JumpHostPlan:
    """A machine that nodes are reached through; `address` is a DNS name or an address."""

    name: str
    address: str
    ssh: SshPlan


@dataclass(frozen=True)
class Route:
    """Packets for `destination` go by `via`."""

    destination: IPNetwork
    via: IPAddress

    @cached_property
    def words(self) -> str:
        """As ip-route(8) takes it; written once, since every other node has the same route."""
        return f"{self.destination} via {self.via}"


@dataclass(frozen=True, slots=True)
class RuntimePlan:
    """What the node's kernel and host allow.

    Attributes:
        cgroup_driver: "systemd" on cgroup v2; "cgroupfs" on v1 hosts (lab only).
        restrict_oom_score: containerd's CRI option for hosts without CAP_SYS_RESOURCE (lab only).
        file_limit: LimitNOFILE of the runtime's unit.
        kernel_settings: whether the node's kernel is its own, so that kernel.* and vm.* sysctls can be set.
    """

    cgroup_version: Literal[1, 2]
    cgroup_driver: Literal["systemd", "cgroupfs"]
    restrict_oom_score: bool
    file_limit: int
    kernel_settings: bool


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One machine, as it shall be.

    Attributes:
        addresses: one of each family of the cluster, in the order of its ranges: other nodes and the API server use the
            first one.
        first: the control plane on which the cluster is initialised.
        etcd: a member of etcd runs on it: on control planes, or on machines that do nothing else.
        pod_ranges: the addresses of its pods, one range for each family; none where another hands them out.
        routes: to the other nodes' pods.
        labels: those that kharden sets in the cluster; others set their own.
        taints: as for labels.
    """

    name: str
    addresses: tuple[IPAddress, ...]
    role: Role
    architecture: Architecture
    first: bool
    ssh: SshPlan
    pod_ranges: tuple[IPNetwork, ...]
    routes: tuple[Route, ...]
    runtime: RuntimePlan
    etcd: bool
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[TaintPlan, ...] = ()

    @property
    def duties(self) -> tuple[Duty, ...]:
        """What controls go by: its role, and its member of etcd."""
        return (self.role, "etcd-member") if self.etcd else (self.role,)

    @property
    def kubelet(self) -> bool:
        """Whether it is a node of Kubernetes, with a kubelet and pods."""
        return self.role != "etcd"

    @property
    def address(self) -> IPAddress:
        """The one under which it is reached where one is enough."""
        return self.addresses[0]

    def address_of(self, family: int) -> IPAddress | None:
        """Its address of a family, 4 or 6; None where the cluster has none of it."""
        return next((address for address in self.addresses if address.version == family), None)


@dataclass(frozen=True, slots=True)
class AuthorityPlan:
    """The files of an authority that the user supplies, relative to the cluster's folder; the key's is sealed."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class NetworkPort:
    """A port that is opened on every node for what isn't ours."""

    port: int
    protocol: Literal["tcp", "udp", "sctp"]
    source: Literal["nodes", "pods"]


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """Who makes the network of pods.

    Attributes:
        plugin: "routed": we do, and hand out each node's range. Otherwise the controller manager hands them out.
        manifest: of plugin "manifest": the file beside cluster.yaml, and its SHA-256 in hex.
        ports: what the firewall opens besides our own ports.
    """

    plugin: Literal["routed", "none", "manifest"]
    manifest: tuple[str, str] | None
    ports: tuple[NetworkPort, ...]

    @property
    def routed(self) -> bool:
        """Whether it is kharden's own, which enforces no NetworkPolicy."""
        return self.plugin == "routed"

    @property
    def brought(self) -> bool:
        """Whether apply brings one: without a network no node becomes ready, and DNS waits for one."""
        return self.plugin != "none"


@dataclass(frozen=True, slots=True)
class AccessPlan:
    """Who is let in from outside of the cluster: to the API, to sshd, and to what services publish on nodes."""

    api: tuple[IPNetwork, ...]
    ssh: tuple[IPNetwork, ...]
    node_ports: tuple[IPNetwork, ...]


@dataclass(frozen=True, slots=True)
class PkiPlan:
    """Key algorithm, lifetimes in days, and what the user adds.

    Attributes:
        extra_sans: more names and addresses of API servers.
        authority: the cluster's authority; None: kharden makes it.
    """

    algorithm: str
    authority_days: int
    leaf_days: int
    extra_sans: tuple[str, ...]
    authority: AuthorityPlan | None


@dataclass(frozen=True, slots=True)
class Argument:
    """A command line flag of a component and the controls that ask for it."""

    name: str
    value: str
    controls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ArtifactsPlan:
    """Whose programs are taken, and where from.

    Attributes:
        official: files that their projects published; otherwise our own builds of the same sources.
        mirror: an https address or an absolute folder from which all of them come; "" for the publishers' own addresses
            and the compiler on this machine.
        other_packages: where a Debian package that the lock pins can't be had any more, one that Debian signs will do.
    """

    official: bool
    mirror: str
    other_packages: bool = False


@dataclass(frozen=True, slots=True)
class RecipientsPlan:
    """Age recipients of the three stores; empty: the identity on this machine."""

    roots: tuple[str, ...]
    leaves: tuple[str, ...]
    data: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """The cluster, as it shall be.

    Attributes:
        endpoint: host:port of the API for every host component, the balancer on each node itself.
        dns_address: the service address of the cluster's DNS (the tenth of the first service range, as kubeadm has it).
        preset: what the cluster is measured by.
        nodes: every machine of the cluster, also those that are no nodes of Kubernetes.
        tls_suites: cipher suites by Go's names, fitting the keys that kharden makes; TLS 1.3 ignores them.
        kubelet_tls_suites: those that fit the keys that kubelets make.
        self_signed_tls_suites: those of components that make a certificate of their own at each start.
        key_exchanges: numbers of TLS's registry of groups; empty where that minor's programs can't be told.
        feature_gates: each with whether it is on, in the order of their names.
        lab: the nodes are containers on this machine.
        namespaces: those of every cluster first, then those of the specification.
    """

    name: str
    spec_digest: str
    preset: Preset
    kubernetes: str
    nodes: tuple[NodePlan, ...]
    endpoint_host: str
    endpoint_port: int
    external: tuple[str, ...]
    access: AccessPlan
    network: NetworkPlan
    node_cidrs: tuple[IPNetwork, ...]
    pod_cidrs: tuple[IPNetwork, ...]
    service_cidrs: tuple[IPNetwork, ...]
    dns_address: IPAddress
    pki: PkiPlan
    encryption: EncryptionPlan
    audit: AuditPlan
    admission: AdmissionPlan
    kubelet: KubeletPlan
    tls_suites: tuple[str, ...]
    kubelet_tls_suites: tuple[str, ...]
    self_signed_tls_suites: tuple[str, ...]
    key_exchanges: tuple[int, ...]
    recipients: RecipientsPlan
    artifacts: ArtifactsPlan
    lab: bool
    jump_hosts: tuple[JumpHostPlan, ...] = ()
    namespaces: tuple[NamespacePlan, ...] = ()
    feature_gates: tuple[tuple[str, bool], ...] = ()

    def gates_of(self, component: Component) -> tuple[tuple[str, bool], ...]:
        """Those of the feature gates that a program knows."""
        return known_to(component, self.minor, self.feature_gates)

    @property
    def endpoint(self) -> str:
        """host:port of the local balancer."""
        return f"{self.endpoint_host}:{self.endpoint_port}"

    @property
    def contract(self) -> Contract:
        """What this minor of Kubernetes can do."""
        return Contract.of(self.kubernetes)

    @property
    def minor(self) -> str:
        """The minor release, such as "1.36"."""
        return self.contract.minor

    @property
    def control_planes(self) -> tuple[NodePlan, ...]:
        """The control planes, the first one first."""
        return tuple(node for node in self.nodes if node.role == "control-plane")

    @property
    def members(self) -> tuple[NodePlan, ...]:
        """Those with a member of etcd."""
        return tuple(node for node in self.nodes if node.etcd)

    @property
    def etcd_machines(self) -> tuple[NodePlan, ...]:
        """Those with a member of etcd and nothing else; none where each control plane has one."""
        return tuple(node for node in self.nodes if node.role == "etcd")

    @property
    def kubelets(self) -> tuple[NodePlan, ...]:
        """The nodes of Kubernetes: control planes and workers."""
        return tuple(node for node in self.nodes if node.kubelet)

    @property
    def machines(self) -> tuple[NodePlan | JumpHostPlan, ...]:
        """Whatever ssh connects to: jump hosts, then nodes."""
        return (*self.jump_hosts, *self.nodes)

    @property
    def workers(self) -> tuple[NodePlan, ...]:
        """The workers."""
        return tuple(node for node in self.nodes if node.role == "worker")
