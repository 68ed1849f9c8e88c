"""Certificates, kubeconfigs and trusted CAs, as they lie on the nodes."""

from __future__ import annotations

from kharden.controls.checks import CertificateFile, DistinctAuthorities, KubeconfigFile, TrustFile
from kharden.controls.model import CONTROL_PLANE, ETCD, MEMBER, NODES, Control, FromPlan

_PKI = "/etc/kubernetes/pki"
_CA = f"{_PKI}/ca.crt"
_ETCD_CA = f"{_PKI}/etcd/ca.crt"
# The group of kubeadm's administrators: bound by RBAC, so that it can be taken away, unlike system:masters.
_ADMINISTRATORS = "kubeadm:cluster-admins"

CONTROLS = (
    Control(
        "apiserver-certificate",
        "The API server's certificate: its CA, names, usages, key and lifetime",
        "critical",
        CONTROL_PLANE,
        (CertificateFile(f"{_PKI}/apiserver.crt", _CA, "kube-apiserver", (), ("server auth",), "api-server"),),
    ),
    Control(
        "apiserver-client-certificates",
        "The certificates that the API server shows to kubelets, etcd and extensions",
        "critical",
        CONTROL_PLANE,
        (
            CertificateFile(
                f"{_PKI}/apiserver-kubelet-client.crt", _CA, "kube-apiserver-kubelet-client", (), ("client auth",)
            ),
            CertificateFile(
                f"{_PKI}/apiserver-etcd-client.crt", _ETCD_CA, "kube-apiserver-etcd-client", (), ("client auth",)
            ),
            CertificateFile(
                f"{_PKI}/front-proxy-client.crt",
                f"{_PKI}/front-proxy-ca.crt",
                "front-proxy-client",
                (),
                ("client auth",),
            ),
        ),
    ),
    Control(
        "etcd-certificates",
        "etcd's certificates: their CA, names, usages, key and lifetime",
        "critical",
        MEMBER,
        (
            # etcd dials its own client port with its serving certificate, so that one needs both usages.
            CertificateFile(
                f"{_PKI}/etcd/server.crt",
                _ETCD_CA,
                FromPlan.NODE_NAME,
                (),
                ("client auth", "server auth"),
                "etcd-member",
            ),
            CertificateFile(
                f"{_PKI}/etcd/peer.crt",
                _ETCD_CA,
                FromPlan.NODE_NAME,
                (),
                ("client auth", "server auth"),
                "etcd-member",
            ),
            CertificateFile(
                f"{_PKI}/etcd/healthcheck-client.crt", _ETCD_CA, "kube-etcd-healthcheck-client", (), ("client auth",)
            ),
        ),
    ),
    Control(
        "kubeconfig-certificates",
        "The certificates inside the kubeconfigs of administrator, controller manager and scheduler",
        "critical",
        CONTROL_PLANE,
        (
            CertificateFile(
                "/etc/kubernetes/admin.conf", _CA, "kubernetes-admin", (_ADMINISTRATORS,), ("client auth",)
            ),
            CertificateFile(
                "/etc/kubernetes/controller-manager.conf",
                _CA,
                "system:kube-controller-manager",
                (),
                ("client auth",),
            ),
            CertificateFile("/etc/kubernetes/scheduler.conf", _CA, "system:kube-scheduler", (), ("client auth",)),
        ),
    ),
    Control(
        "kubelet-client-certificate",
        "The kubelet's client certificate is its own node's and the cluster's",
        "critical",
        NODES,
        (
            CertificateFile(
                "/var/lib/kubelet/pki/kubelet-client-current.pem",
                _CA,
                FromPlan.NODE_USER,
                ("system:nodes",),
                ("client auth",),
                issued_by_plan=False,
            ),
        ),
    ),
    Control(
        "kubelet-serving-certificate",
        "The kubelet's serving certificate is signed by the cluster's CA for exactly its node",
        "high",
        NODES,
        (
            CertificateFile(
                "/var/lib/kubelet/pki/kubelet-server-current.pem",
                _CA,
                FromPlan.NODE_USER,
                ("system:nodes",),
                ("server auth",),
                "node",
                issued_by_plan=False,
            ),
        ),
    ),
    Control(
        "kubeconfigs-sound",
        "Kubeconfigs verify the API server with an embedded CA and hold no password or token",
        "high",
        CONTROL_PLANE,
        (
            KubeconfigFile("/etc/kubernetes/admin.conf"),
            KubeconfigFile("/etc/kubernetes/controller-manager.conf"),
            KubeconfigFile("/etc/kubernetes/scheduler.conf"),
        ),
    ),
    Control(
        "kubelet-kubeconfig-sound",
        "The kubelet's kubeconfig verifies the API server with an embedded CA and holds no password or token",
        "high",
        NODES,
        (KubeconfigFile("/etc/kubernetes/kubelet.conf"),),
    ),
    Control(
        "trusted-authorities",
        "The cluster's CA file holds exactly the cluster's CA, the same on every node",
        "critical",
        NODES,
        (TrustFile(_CA, ("ca",)),),
        "find out who added a CA; put the file back with `kharden apply` and restart what has read it",
    ),
    Control(
        "trusted-authorities-control-plane",
        "etcd, front proxy and client CA files hold exactly the expected CAs, the same on every control plane",
        "critical",
        CONTROL_PLANE,
        (
            # People have a CA of their own: taking it out of this file revokes every one of them.
            TrustFile(f"{_PKI}/client-ca.crt", ("ca", "people-ca")),
            TrustFile(f"{_PKI}/front-proxy-ca.crt", ("front-proxy-ca",)),
            TrustFile(_ETCD_CA, ("etcd-ca",)),
        ),
        "find out who added a CA; put the file back with `kharden apply` and restart what has read it",
    ),
    Control(
        "trusted-authorities-etcd",
        "etcd's CA file on a machine of its own holds exactly etcd's CA",
        "critical",
        ETCD,
        (TrustFile(_ETCD_CA, ("etcd-ca",)),),
        "find out who added a CA and take it out by hand: apply refuses a machine with another one",
    ),
    Control(
        "etcd-own-authority",
        "etcd and the front proxy have CAs of their own",
        "critical",
        CONTROL_PLANE,
        (DistinctAuthorities((_CA, f"{_PKI}/front-proxy-ca.crt", _ETCD_CA)),),
    ),
)
