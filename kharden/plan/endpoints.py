"""Addresses and names under which things are reached: pure functions of plan and node."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan, NodePlan
    from kharden.spec.types import IPAddress

LOCAL_BALANCER_HOST = "127.0.0.1"
LOCAL_BALANCER_PORT = 7443
API_PORT = 6443
DNS_DOMAIN = "cluster.local"


@dataclass(frozen=True, slots=True)
class Sans:
    """Subject alternative names of a certificate, in a fixed order without duplicates."""

    dns: tuple[str, ...] = ()
    ip: tuple[IPAddress, ...] = ()


def api_server_sans(plan: ClusterPlan, node: NodePlan) -> Sans:
    """Names of an API server: those kubeadm would use (its certlist.go), the local balancer and the user's own.

    It listens on the node's addresses of both families, so it has both; its service may be of either family too.
    """
    services = tuple(network[1] for network in plan.service_cidrs)
    dns = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{DNS_DOMAIN}"]
    dns += [node.name, "localhost"]
    addresses = [*services, *node.addresses, ip_address(LOCAL_BALANCER_HOST)]
    for name in (*plan.external, *plan.pki.extra_sans):
        try:
            addresses.append(ip_address(name))
        except ValueError:
            dns.append(name)
    return Sans(tuple(dict.fromkeys(dns)), tuple(dict.fromkeys(addresses)))


def etcd_sans(plan: ClusterPlan, node: NodePlan) -> Sans:  # noqa: ARG001  # every SAN rule has this one signature
    """Names of an etcd member, for its clients and its peers (kubeadm's certlist.go): it listens nowhere else."""
    return Sans((node.name, "localhost"), (node.address, ip_address("127.0.0.1"), ip_address("::1")))


def etcd_url(node: NodePlan, port: int) -> str:
    """Where a member is reached by others: it listens on the first of its addresses alone."""
    return f"https://{bracketed(node.address)}:{port}"


def etcd_loopback(node: NodePlan) -> IPAddress:
    """Where a member listens for its own machine: of the family of the address that it has for others (kubeadm)."""
    return ip_address("::1" if node.address.version == 6 else "127.0.0.1")  # noqa: PLR2004  # IP version 6


def no_sans(plan: ClusterPlan, node: NodePlan) -> Sans:  # noqa: ARG001  # every SAN rule has this one signature
    """For client certificates, which have none."""
    return Sans()


def bracketed(address: IPAddress) -> str:
    """An address as a URL's host: IPv6 in brackets (RFC 3986, 3.2.2)."""
    return f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004  # IP version 6


def people_server(plan: ClusterPlan) -> str:
    """The API as people reach it: the first of the external names, else the first control plane itself.

    The balancer of a node listens on that node's loopback, where no person is.
    """
    host = plan.external[0] if plan.external else str(plan.control_planes[0].address)
    return f"https://{f'[{host}]' if ':' in host else host}:{API_PORT}"
