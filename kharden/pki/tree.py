"""The tree of certificates as a table: what kubeadm would make (its certlist.go and kubeconfig.go), and who keeps it.

Names, groups and usages are those of kubeadm 1.36, whose RBAC bindings name them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kharden.plan.endpoints import api_server_sans, etcd_sans, no_sans

if TYPE_CHECKING:
    from collections.abc import Callable

    from kharden.plan.endpoints import Sans
    from kharden.plan.model import ClusterPlan, NodePlan

    SanRule = Callable[[ClusterPlan, NodePlan], Sans]

Usage = Literal["server auth", "client auth"]
AuthorityName = Literal["ca", "etcd-ca", "front-proxy-ca", "people-ca"]

_SERVER: tuple[Usage, ...] = ("server auth",)
_CLIENT: tuple[Usage, ...] = ("client auth",)


@dataclass(frozen=True, slots=True)
class AuthorityRow:
    """A self-signed authority, one for the cluster; its key is kept in the store `roots`.

    Attributes:
        path: its certificate below /etc/kubernetes/pki on control planes, without suffix; None: on no node by itself.
        usages: what its certificates can be used for at most; empty: anything.
        key_on_nodes: whether control planes hold its key (the controller manager signs kubelets' requests with it).
    """

    name: AuthorityName
    common_name: str
    path: str | None
    usages: tuple[Usage, ...] = ()
    key_on_nodes: bool = False


@dataclass(frozen=True, slots=True)
class LeafRow:
    """A leaf certificate with a key of its own.

    Attributes:
        common_name: None: the name of the node.
        path: certificate and key below /etc/kubernetes/pki without suffix; None: they go into a kubeconfig.
        member: it is a member of etcd's, wherever that runs; the others are a control plane's.
    """

    name: str
    issuer: AuthorityName
    common_name: str | None
    usages: tuple[Usage, ...]
    organizations: tuple[str, ...] = ()
    sans: SanRule = no_sans
    path: str | None = None
    member: bool = False


AUTHORITIES = (
    AuthorityRow("ca", "kubernetes", "ca", key_on_nodes=True),
    AuthorityRow("etcd-ca", "etcd-ca", "etcd/ca"),
    AuthorityRow("front-proxy-ca", "front-proxy-ca", "front-proxy-ca", _CLIENT),
    # Trusted beside the cluster's own for clients alone; taking it out of that file revokes every person at once.
    AuthorityRow("people-ca", "kharden-people-ca", None, _CLIENT),
)

# The one that a user may supply. The others sign nothing that anybody outside the control plane looks at, and a front
# proxy's or etcd's authority that signs for others too would let those in.
SUPPLIED: AuthorityName = "ca"

# One of each for every control plane and every member of etcd: a stolen node's keys are that node's alone.
LEAVES = (
    LeafRow("apiserver", "ca", "kube-apiserver", _SERVER, sans=api_server_sans, path="apiserver"),
    LeafRow(
        "apiserver-kubelet-client", "ca", "kube-apiserver-kubelet-client", _CLIENT, path="apiserver-kubelet-client"
    ),
    LeafRow("apiserver-etcd-client", "etcd-ca", "kube-apiserver-etcd-client", _CLIENT, path="apiserver-etcd-client"),
    LeafRow("front-proxy-client", "front-proxy-ca", "front-proxy-client", _CLIENT, path="front-proxy-client"),
    # etcd uses its serving certificate as a client too (https://github.com/etcd-io/etcd/issues/9785).
    LeafRow("etcd-server", "etcd-ca", None, _SERVER + _CLIENT, sans=etcd_sans, path="etcd/server", member=True),
    LeafRow("etcd-peer", "etcd-ca", None, _SERVER + _CLIENT, sans=etcd_sans, path="etcd/peer", member=True),
    LeafRow(
        "etcd-healthcheck-client",
        "etcd-ca",
        "kube-etcd-healthcheck-client",
        _CLIENT,
        path="etcd/healthcheck-client",
        member=True,
    ),
    LeafRow("admin", "ca", "kubernetes-admin", _CLIENT, ("kubeadm:cluster-admins",)),
    LeafRow("controller-manager", "ca", "system:kube-controller-manager", _CLIENT),
    LeafRow("scheduler", "ca", "system:kube-scheduler", _CLIENT),
)

# Passes by RBAC altogether: one for the cluster, kept with the roots and on no node.
SUPER_ADMIN = LeafRow("super-admin", "ca", "kubernetes-super-admin", _CLIENT, ("system:masters",))


def leaves_of(node: NodePlan) -> tuple[LeafRow, ...]:
    """Those that a node has of its own: a control plane, a member of etcd, or both in one."""
    return tuple(row for row in LEAVES if (node.etcd if row.member else node.role == "control-plane"))
