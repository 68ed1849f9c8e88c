"""Command line flags of the control plane, each with the controls that ask for it (CIS Kubernetes Benchmark 1.12).

kubeadm sets the rest by itself; what stands here is what it leaves open or sets otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.plan.endpoints import bracketed, etcd_loopback, etcd_url
from kharden.plan.firewall import ETCD_CLIENT_PORT, ETCD_PEER_PORT
from kharden.plan.model import Argument
from kharden.spec.network_rules import NODE_MASK

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan, NodePlan
    from kharden.versions.gates import Component

API_FOLDER = "/etc/kharden/api"
AUDIT_LOG = "/var/log/kubernetes/audit/audit.log"
CLIENT_CA = "/etc/kubernetes/pki/client-ca.crt"
ETCD_DATA = "/var/lib/etcd"
# As etcd itself sees it, in its pod or its service: copies that it alone can read lie there then.
ETCD_PKI = "/etc/kubernetes/pki/etcd"
_ETCD_METRICS_PORT = 2381
_TLS_MINIMUM = "VersionTLS12"


def api_server(plan: ClusterPlan) -> tuple[Argument, ...]:
    """Flags of kube-apiserver beside kubeadm's own."""
    return (
        Argument("profiling", "false", ("apiserver-profiling-off",)),
        Argument("authentication-config", f"{API_FOLDER}/authentication.yaml", ("apiserver-anonymous-limited",)),
        Argument("authorization-mode", "Node,RBAC", ("apiserver-authorization-modes",)),
        Argument("client-ca-file", CLIENT_CA),
        Argument("admission-control-config-file", f"{API_FOLDER}/admission.yaml"),
        Argument("enable-admission-plugins", ",".join(plan.admission.plugins), ("apiserver-admission-plugins",)),
        Argument("encryption-provider-config", f"{API_FOLDER}/encryption.yaml", ("etcd-encryption-at-rest",)),
        Argument("encryption-provider-config-automatic-reload", "true"),
        Argument("audit-policy-file", f"{API_FOLDER}/audit-policy.yaml"),
        Argument("audit-log-path", AUDIT_LOG, ("apiserver-audit-log",)),
        Argument("audit-log-maxage", str(plan.audit.max_age_days), ("apiserver-audit-log-age",)),
        Argument("audit-log-maxbackup", str(plan.audit.max_backups), ("apiserver-audit-log-backups",)),
        Argument("audit-log-maxsize", str(plan.audit.max_size_mb), ("apiserver-audit-log-size",)),
        Argument("kubelet-certificate-authority", "/etc/kubernetes/pki/ca.crt", ("apiserver-verifies-kubelets",)),
        Argument("service-account-extend-token-expiration", "false", ("apiserver-token-expiry",)),
        Argument("service-account-lookup", "true"),
        Argument("tls-min-version", _TLS_MINIMUM, ("apiserver-tls",)),
        Argument("tls-cipher-suites", ",".join(plan.tls_suites), ("apiserver-tls",)),
        *_key_exchanges(plan),
        Argument("request-timeout", "60s"),
        *_feature_gates(plan, "kube-apiserver"),
    )


def controller_manager(plan: ClusterPlan) -> tuple[Argument, ...]:
    """Flags of kube-controller-manager beside kubeadm's own."""
    return (
        Argument("profiling", "false", ("controller-manager-profiling-off",)),
        Argument("bind-address", "127.0.0.1", ("controller-manager-loopback",)),
        Argument("terminated-pod-gc-threshold", "1000"),
        # In a routed network a node's range follows from the plan; other plugins take the one that is handed out.
        *_node_ranges(plan),
        Argument("tls-min-version", _TLS_MINIMUM),
        Argument("tls-cipher-suites", ",".join(plan.self_signed_tls_suites)),
        *_key_exchanges(plan),
        *_feature_gates(plan, "kube-controller-manager"),
    )


def _node_ranges(plan: ClusterPlan) -> tuple[Argument, ...]:
    """Whether nodes are handed out a range of each family, and of which size."""
    if plan.network.routed:
        return (Argument("allocate-node-cidrs", "false"),)
    sizes = (
        Argument(f"node-cidr-mask-size-ipv{network.version}", str(NODE_MASK[network.version]))
        for network in plan.pod_cidrs
    )
    return (Argument("allocate-node-cidrs", "true"), *sizes)


def scheduler(plan: ClusterPlan) -> tuple[Argument, ...]:
    """Flags of kube-scheduler beside kubeadm's own."""
    return (
        Argument("profiling", "false", ("scheduler-profiling-off",)),
        Argument("bind-address", "127.0.0.1", ("scheduler-loopback",)),
        Argument("tls-min-version", _TLS_MINIMUM),
        Argument("tls-cipher-suites", ",".join(plan.self_signed_tls_suites)),
        *_key_exchanges(plan),
        *_feature_gates(plan, "kube-scheduler"),
    )


def etcd(plan: ClusterPlan) -> tuple[Argument, ...]:
    """Flags of etcd beside kubeadm's own; it takes Go's names of all our suites."""
    return (
        Argument("tls-min-version", "TLS1.2", ("etcd-tls",)),
        Argument("cipher-suites", ",".join(plan.tls_suites), ("etcd-tls",)),
        # Their defaults, said aloud (STIG V-242379 and V-242380).
        Argument("auto-tls", "false", ("etcd-self-made-certificates-off",)),
        Argument("peer-auto-tls", "false", ("etcd-self-made-certificates-off",)),
    )


def etcd_alone(plan: ClusterPlan, node: NodePlan) -> tuple[Argument, ...]:
    """All flags of a member on a machine of its own: what kubeadm would give it (its phases/etcd/local.go), and ours.

    Who the other members are it isn't told here: once it has data it knows, and at its first start apply says it.
    """
    loopback = bracketed(etcd_loopback(node))
    return (
        Argument("name", node.name),
        Argument("data-dir", ETCD_DATA),
        Argument("listen-client-urls", f"https://{loopback}:{ETCD_CLIENT_PORT},{etcd_url(node, ETCD_CLIENT_PORT)}"),
        Argument("advertise-client-urls", etcd_url(node, ETCD_CLIENT_PORT)),
        Argument("listen-peer-urls", etcd_url(node, ETCD_PEER_PORT)),
        Argument("initial-advertise-peer-urls", etcd_url(node, ETCD_PEER_PORT)),
        Argument("listen-metrics-urls", f"http://{loopback}:{_ETCD_METRICS_PORT}"),
        Argument("cert-file", f"{ETCD_PKI}/server.crt", ("etcd-serving-certificate",)),
        Argument("key-file", f"{ETCD_PKI}/server.key", ("etcd-serving-certificate",)),
        Argument("trusted-ca-file", f"{ETCD_PKI}/ca.crt", ("etcd-client-certificates",)),
        Argument("client-cert-auth", "true", ("etcd-client-certificates",)),
        Argument("peer-cert-file", f"{ETCD_PKI}/peer.crt", ("etcd-peer-certificates",)),
        Argument("peer-key-file", f"{ETCD_PKI}/peer.key", ("etcd-peer-certificates",)),
        Argument("peer-trusted-ca-file", f"{ETCD_PKI}/ca.crt", ("etcd-peer-client-certificates",)),
        Argument("peer-client-cert-auth", "true", ("etcd-peer-client-certificates",)),
        Argument("snapshot-count", "10000"),
        Argument("feature-gates", "InitialCorruptCheck=true"),
        Argument("watch-progress-notify-interval", "5s"),
        *etcd(plan),
    )


def _key_exchanges(plan: ClusterPlan) -> tuple[Argument, ...]:
    """Which key exchanges a component takes part in, where its minor can be told."""
    if not plan.key_exchanges:
        return ()
    return (Argument("tls-curve-preferences", ",".join(map(str, plan.key_exchanges))),)


def _feature_gates(plan: ClusterPlan, component: Component) -> tuple[Argument, ...]:
    """The feature gates that a program is started with; no flag where there are none."""
    chosen = plan.gates_of(component)
    value = ",".join(f"{name}={'true' if on else 'false'}" for name, on in chosen)
    return (Argument("feature-gates", value),) if chosen else ()
