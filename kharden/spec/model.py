"""The model of cluster.yaml: strict, frozen, unknown keys refused.

Only what can be said of one field alone is said here; what concerns several is in `kharden.spec.rules`. Defaults that
depend on other fields are resolved in `kharden.plan`, never here. The texts below fields are the reference of
cluster.yaml, and what editors show.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import Field

from kharden.spec.namespaces import Namespace
from kharden.spec.node_marks import LabelKey, LabelValue, Taint, Zone
from kharden.spec.policy import Admission, Audit, Encryption, Kubelet, Waiver
from kharden.spec.presets import Preset
from kharden.spec.section import Section
from kharden.spec.types import (
    Address,
    BesidePath,
    ClusterName,
    Digest,
    External,
    FilePath,
    GateName,
    HostKey,
    KeyFile,
    KubernetesVersion,
    Mirror,
    Name,
    Network,
    Port,
    Recipient,
    UserName,
)

Suite = Literal["trixie", "bookworm"]

_EVERYBODY = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
API_VERSION = "kharden.dev/v1"


class Ssh(Section):
    """How a node is reached. Host keys are pinned: `invoke hosts.scan` prints them for a person to confirm."""

    user: UserName = "root"
    """Who logs in, with a key. Another than root needs sudo without a password there; the lab makes such a user."""
    port: Port = 22
    """The port of sshd."""
    key: KeyFile | None = None
    """The private key to log in with, on this machine; else ssh's usual ones and its agent. Not in the lab."""
    jump_host: Name | None = None
    """The name of one of the jumpHosts, through which the node is reached; else it is reached directly."""
    host_keys: tuple[HostKey, ...] = ()
    """The node's public host keys; another key stops everything. Needed for each node outside the lab."""


class Node(Section):
    """One machine."""

    name: Name
    """Its host name and its name in the cluster."""
    address: Address
    """Under which the other nodes reach it; inside the first of the nodeCIDRs."""
    second_address: Address | None = None
    """Its address of the other family, inside the second of the nodeCIDRs; every node has one where there are two."""
    role: Literal["control-plane", "worker", "etcd"]
    """What it does. `etcd`: a member of etcd runs on it and nothing else, neither kubelet nor pods; where one node has
    this role, control planes have no etcd of their own. The number of machines with etcd is odd, so that losing one of
    them leaves a majority. A cluster keeps the place that it began with."""
    architecture: Literal["amd64", "arm64"] = "amd64"
    """Of its processor: which programs and images it gets."""
    zone: Zone | None = None
    """What fails together with it: a data centre, a room (the label topology.kubernetes.io/zone)."""
    labels: dict[LabelKey, LabelValue] = Field(default={})
    """Its labels in the cluster, besides those that Kubernetes and kharden set. A machine of role `etcd` has none."""
    taints: tuple[Taint, ...] = ()
    """What keeps pods away from it; control planes have node-role.kubernetes.io/control-plane:NoSchedule besides. A
    machine of role `etcd` has none."""
    ssh: Ssh = Ssh()
    """How it is reached."""


class JumpHost(Section):
    """A machine that nodes are reached through (a bastion). It isn't a node: it is never changed.

    The lab makes its jump hosts as machines of its own, with an ssh server and nothing else.
    """

    name: Name
    """By which nodes name it; no node's name."""
    address: External
    """Where ssh finds it: a DNS name or an address. In the lab an address inside the first of the nodeCIDRs."""
    user: UserName
    """Who logs in there; needs no rights but to be forwarded."""
    port: Port = 22
    """The port of its sshd."""
    key: KeyFile | None = None
    """The private key to log in with, on this machine; else ssh's usual ones and its agent. Not in the lab."""
    host_keys: tuple[HostKey, ...] = ()
    """Its public host keys; another key stops everything. Needed for each jump host outside the lab."""


class Kubernetes(Section):
    """Which Kubernetes."""

    version: KubernetesVersion
    """All three numbers; one of the supported minors."""
    feature_gates: dict[GateName, bool] = Field(default={})
    """Feature gates of that minor that are set otherwise than its programs do by themselves: true is on. Each goes to
    every program of Kubernetes that knows it. One whose feature is alpha needs a waiver of alpha-features-off."""


class Endpoint(Section):
    """Names and addresses under which people reach the API, besides the local balancer of every node."""

    external: tuple[External, ...] = ()
    """They go into the API servers' certificates."""


class Access(Section):
    """From where connections from outside of the cluster are let in; everything else is dropped on the nodes.

    Nodes always reach what they need of each other, and pods what they need of the API.
    """

    api: tuple[Network, ...] = ()
    """Who may reach the API servers, besides nodes and pods."""
    ssh: Annotated[tuple[Network, ...], Field(min_length=1)] = _EVERYBODY
    """Who may reach sshd, besides pods, which never do. By default everybody, so that nobody is locked out."""
    node_ports: tuple[Network, ...] = ()
    """Who may reach NodePorts, hostPorts and external addresses of services, besides nodes and pods."""


class NetworkManifest(Section):
    """A file of Kubernetes objects, pinned."""

    path: BesidePath
    """Where it lies, seen from the folder of cluster.yaml."""
    sha256: Digest
    """Its SHA-256; a file with another one is refused."""


class NetworkPort(Section):
    """A port that the firewall opens on every node, for what isn't kharden's own, such as a network plugin."""

    port: Port
    """Its number."""
    protocol: Literal["tcp", "udp", "sctp"] = "tcp"
    """Its protocol."""
    source: Annotated[Literal["nodes", "pods"], Field(alias="from")] = "nodes"
    """From where it is reached: the cluster's nodes, or its pods."""


class NetworkSection(Section):
    """Address ranges and the plugin. With two families each of the lists has one range of each, in the same order."""

    plugin: Literal["routed", "none", "manifest"] = "routed"
    """`routed`: containernetworking's bridge and a route to each node's range; it enforces no NetworkPolicy.
    `none`: you install one, and nodes aren't ready before that. `manifest`: kharden applies a file of yours."""
    manifest: NetworkManifest | None = None
    """The file of plugin `manifest`, and for no other plugin."""
    ports: tuple[NetworkPort, ...] = ()
    """What the firewall opens besides kharden's own ports."""
    node_cidrs: Annotated[tuple[Network, ...], Field(alias="nodeCIDRs", min_length=1, max_length=2)]
    """Where the nodes' addresses lie."""
    pod_cidrs: Annotated[tuple[Network, ...], Field(alias="podCIDRs", min_length=1, max_length=2)]
    """Pods' addresses; each node gets a /24 (IPv6: /64) of it."""
    service_cidrs: Annotated[tuple[Network, ...], Field(alias="serviceCIDRs", min_length=1, max_length=2)]
    """Services' addresses, /12 to /24 (IPv6: /108 to /120)."""


class Lifetimes(Section):
    """How long certificates are good for, in days."""

    authority_days: Annotated[int, Field(ge=30, le=7300)] = 3650
    """Certificate authorities."""
    leaf_days: Annotated[int, Field(ge=2, le=397)] = 365
    """All other certificates; they are renewed in their last third."""


class Authority(Section):
    """A certificate authority of yours as the cluster's own, taken over when its keys are first made."""

    certificate: FilePath
    """Its self-signed certificate in PEM."""
    key: FilePath
    """Its private key in PEM, sealed with age for the identity of the roots; never in the clear."""


class Pki(Section):
    """Keys and certificates."""

    algorithm: Literal["ECDSA-P256", "ECDSA-P384", "RSA-2048", "RSA-3072", "RSA-4096"] = "ECDSA-P256"
    """Of every key."""
    lifetimes: Lifetimes = Lifetimes()
    """How long certificates are good for."""
    extra_sans: Annotated[tuple[External, ...], Field(alias="extraSANs", max_length=100)] = ()
    """More names and addresses in the API servers' certificates, besides those of endpoint.external."""
    authority: Authority | None = None
    """Present: the cluster's certificate authority is yours. Absent: kharden makes one."""


class Artifacts(Section):
    """Where programs and images come from. Whatever it is, only the bytes that kharden's lock names are taken."""

    source: Literal["auto", "release", "mirror", "source"] = "auto"
    """`release`: what the projects published, from their own addresses. `mirror`: the same files, from `mirror` alone.
    `source`: built by kharden from pinned Go modules; where `mirror` is named, such builds are fetched from there.
    `auto`: `source` in the lab, published files for real machines: those never fall back to our own builds."""
    mirror: Mirror | None = None
    """An https address or a folder, laid out as `artifacts.bundle` does; nothing is then fetched from elsewhere."""


class Recipients(Section):
    """Who can open each store: age recipients. Empty: the identity that kharden makes on first use."""

    roots: tuple[Recipient, ...] = ()
    """Keys of certificate authorities, and the one that signs service account tokens."""
    leaves: tuple[Recipient, ...] = ()
    """All other keys of certificates."""
    data: tuple[Recipient, ...] = ()
    """Encryption keys and tokens."""


class SecretsSection(Section):
    """The sealed stores beside cluster.yaml."""

    recipients: Recipients = Recipients()
    """Who can open them."""


class LabSection(Section):
    """The nodes are containers on this machine, made by `lab.up`. `lab: {}` takes the defaults."""

    suite: Suite = "trixie"
    """The nodes' Debian: 13 or 12."""
    suites: dict[Name, Suite] = Field(default={})
    """That of single nodes and jump hosts, by name, where it is another."""


class Spec(Section):
    """All that a person decides."""

    preset: Preset = "cis"
    """What the rest is measured by; [this table](presets.md) says what each preset decides. `baseline`: nothing in
    plaintext and nobody anonymous, but most workloads run as they are. `cis`: as the CIS Kubernetes Benchmark asks.
    `stig`: also as DISA's Kubernetes STIG asks, where a setting can."""
    kubernetes: Kubernetes
    """Which Kubernetes."""
    nodes: Annotated[tuple[Node, ...], Field(min_length=1, max_length=5000)]
    """The machines."""
    jump_hosts: tuple[JumpHost, ...] = ()
    """Machines that nodes are reached through."""
    endpoint: Endpoint = Endpoint()
    """Under which names people reach the API."""
    access: Access = Access()
    """From where connections are let in."""
    network: NetworkSection
    """Address ranges and the plugin."""
    pki: Pki = Pki()
    """Keys and certificates."""
    encryption: Encryption = Encryption()
    """Encryption at rest."""
    audit: Audit = Audit()
    """The audit log."""
    admission: Admission = Admission()
    """What is let in."""
    kubelet: Kubelet = Kubelet()
    """The nodes' agent."""
    namespaces: tuple[Namespace, ...] = ()
    """Namespaces that kharden makes and keeps hardened."""
    artifacts: Artifacts = Artifacts()
    """Where programs and images come from."""
    secrets: SecretsSection = SecretsSection()
    """The sealed stores beside cluster.yaml."""
    waivers: tuple[Waiver, ...] = ()
    """Controls that are knowingly not met. A value that is weaker than the preset's needs one."""
    lab: LabSection | None = None
    """Present: the nodes are containers on this machine."""


class Metadata(Section):
    """Which cluster."""

    name: ClusterName
    """The same as its folder's in inventories/."""


class Cluster(Section):
    """The whole of cluster.yaml."""

    api_version: Literal["kharden.dev/v1"]
    """The version of this format."""
    kind: Literal["Cluster"]
    """What this file describes."""
    metadata: Metadata
    """Which cluster."""
    spec: Spec
    """All that a person decides."""
