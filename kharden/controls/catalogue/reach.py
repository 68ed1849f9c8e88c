"""What listens, how it speaks TLS, and what those without the right credential get from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.controls.checks import Listener, ListeningSockets, Probe, TlsListener
from kharden.controls.model import CONTROL_PLANE, ETCD, MEMBER, NODES, WORKER, Control, FromPlan

if TYPE_CHECKING:
    from kharden.controls.checks.behaviour import Credential

_CLOSED = ("connection refused", "no answer")
_UNAUTHORIZED = ("401",)
# Who may connect at all is the firewall's business, and judged by its own controls.
_DROPPED = ("no answer",)
# Its own authorizer refuses the anonymous user (403) where authentication lets it pass as one.
_REFUSED = ("401", "403")
_PKI = "/etc/kubernetes/pki"
_STRANGERS: tuple[Credential, ...] = ("none", "kubelet")

_SSH = Listener(("sshd", "systemd"), FromPlan.SSH_PORT, "node")
# What a machine has an address from, and its time, where it does (RFC 2131, RFC 8415; chronyc(1)).
_LEASES = tuple(
    Listener(("systemd-networkd", "dhclient", "dhcpcd", "NetworkManager"), port, "node", "udp", needed=False)
    for port in (68, 546)
)
_TIME = Listener(("chronyd",), 323, "loopback", "udp", needed=False)
_NODE = (_SSH, Listener(("kubelet",), 10250, "node"), *_LEASES)
_LOOPBACK = (
    _TIME,
    Listener(("haproxy",), 7443, "loopback"),
    Listener(("kubelet",), 10248, "loopback"),
    Listener(("kube-proxy",), 10249, "loopback"),
    Listener(("kube-proxy",), 10256, "loopback"),
    # The runtime's streaming server, for exec and logs by way of the kubelet.
    Listener(("containerd",), None, "loopback", needed=False),
)
_API = Listener(("kube-apiserver",), 6443, "node")
_CONTROLLERS = (
    Listener(("kube-controller-manager",), 10257, "loopback"),
    Listener(("kube-scheduler",), 10259, "loopback"),
)
_MEMBER = (Listener(("etcd",), 2379, "node"), Listener(("etcd",), 2380, "node"))
_MEMBER_LOOPBACK = (Listener(("etcd",), 2379, "loopback"), Listener(("etcd",), 2381, "loopback"))
_REMEDY = "stop what listens there, or find out who started it"

CONTROLS = (
    Control(
        "listeners-control-plane",
        "On a control plane's addresses only sshd, kubelet, API server and etcd listen",
        "critical",
        CONTROL_PLANE,
        (),
        _REMEDY,
        with_member=(ListeningSockets("node", (*_NODE, _API, *_MEMBER)),),
        without_member=(ListeningSockets("node", (*_NODE, _API)),),
    ),
    Control(
        "listeners-etcd",
        "On the addresses of a machine of etcd's own only sshd and etcd listen",
        "critical",
        ETCD,
        (ListeningSockets("node", (_SSH, *_LEASES, *_MEMBER)),),
        _REMEDY,
    ),
    Control(
        "listeners-worker",
        "On a worker's addresses only sshd and kubelet listen",
        "critical",
        WORKER,
        (ListeningSockets("node", _NODE),),
        _REMEDY,
    ),
    Control(
        "loopback-listeners-control-plane",
        "On a control plane's loopback only the named health, metrics and balancer ports listen",
        "medium",
        CONTROL_PLANE,
        (),
        _REMEDY,
        with_member=(ListeningSockets("loopback", (*_LOOPBACK, *_CONTROLLERS, *_MEMBER_LOOPBACK)),),
        without_member=(ListeningSockets("loopback", (*_LOOPBACK, *_CONTROLLERS)),),
    ),
    Control(
        "loopback-listeners-etcd",
        "On the loopback of a machine of etcd's own only etcd's ports for itself and its metrics listen",
        "medium",
        ETCD,
        (ListeningSockets("loopback", (_TIME, *_MEMBER_LOOPBACK)),),
        _REMEDY,
    ),
    Control(
        "loopback-listeners-worker",
        "On a worker's loopback only the named health, metrics and balancer ports listen",
        "medium",
        WORKER,
        (ListeningSockets("loopback", _LOOPBACK),),
        _REMEDY,
    ),
    Control(
        "tls-spoken-control-plane",
        "API server, scheduler and controller manager speak TLS 1.2 or later with strong suites only",
        "high",
        CONTROL_PLANE,
        (
            TlsListener(6443, "node", f"{_PKI}/ca.crt", "api-server"),
            TlsListener(10257, "loopback", None, "none"),
            TlsListener(10259, "loopback", None, "none"),
        ),
    ),
    Control(
        "tls-spoken-etcd",
        "etcd speaks TLS 1.2 or later with strong suites only, to clients and among its members",
        "high",
        MEMBER,
        (
            TlsListener(2379, "node", f"{_PKI}/etcd/ca.crt", "etcd-member", first_address_only=True),
            TlsListener(2380, "node", f"{_PKI}/etcd/ca.crt", "etcd-member", first_address_only=True),
        ),
    ),
    Control(
        "tls-spoken-kubelet",
        "The kubelet speaks TLS 1.2 or later with strong suites only, under its node's name",
        "high",
        NODES,
        (TlsListener(10250, "node", f"{_PKI}/ca.crt", "node"),),
    ),
    Control(
        "apiserver-anonymous-refused",
        "Without a credential the API server answers health probes and nothing else",
        "critical",
        CONTROL_PLANE,
        (
            # 500 where something isn't well at that moment, such as etcd after a member went: answered all the same.
            Probe(6443, ("200", "500"), "/livez"),
            Probe(6443, _UNAUTHORIZED, "/version"),
            Probe(6443, _UNAUTHORIZED, "/api"),
            Probe(6443, _UNAUTHORIZED, "/metrics"),
            Probe(6443, _UNAUTHORIZED, "/api/v1/namespaces/kube-public/configmaps/cluster-info"),
        ),
    ),
    Control(
        "front-proxy-forgery-refused",
        "Names in headers count for nothing without the front proxy's certificate",
        "critical",
        CONTROL_PLANE,
        (
            Probe(
                6443,
                _UNAUTHORIZED,
                "/api/v1/secrets",
                headers=(("X-Remote-User", "kubernetes-admin"), ("X-Remote-Group", "system:masters")),
            ),
        ),
    ),
    Control(
        "apiserver-insecure-port-closed",
        "The API server's old port without TLS is closed",
        "critical",
        CONTROL_PLANE,
        (Probe(8080, _CLOSED, over_tls=False), Probe(8080, _CLOSED, scope="loopback", over_tls=False)),
    ),
    Control(
        "kubelet-anonymous-refused",
        "Without a credential the kubelet answers nothing",
        "critical",
        NODES,
        (
            Probe(10250, _UNAUTHORIZED, "/pods", outside=_DROPPED),
            Probe(10250, _UNAUTHORIZED, "/metrics", outside=_DROPPED),
            Probe(10250, _UNAUTHORIZED, "/configz", outside=_DROPPED),
        ),
    ),
    Control(
        "kubelet-read-only-port-closed",
        "The kubelet's read-only port is closed",
        "high",
        NODES,
        (Probe(10255, _CLOSED, "/pods", over_tls=False),),
    ),
    Control(
        "components-anonymous-refused",
        "Without a credential scheduler and controller manager show no metrics",
        "high",
        CONTROL_PLANE,
        (
            Probe(10257, _REFUSED, "/metrics", scope="loopback"),
            Probe(10259, _REFUSED, "/metrics", scope="loopback"),
        ),
    ),
    Control(
        "etcd-strangers-refused",
        "etcd refuses those without a certificate and those with one of the cluster's CA",
        "critical",
        MEMBER,
        (
            *(
                Probe(port, ("TLS refused",), "/version", credential=who, outside=_DROPPED, first_address_only=True)
                for port in (2379, 2380)
                for who in _STRANGERS
            ),
            # With etcd's own client certificate it does answer: the refusals above are about the credential.
            Probe(2379, ("200",), "/version", credential="etcd-client", first_address_only=True),
        ),
    ),
)
