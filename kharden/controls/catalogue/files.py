"""Owners, modes and absence of files (CIS sections 1.1 and 4.1)."""

from __future__ import annotations

from kharden.controls.checks import FileAttributes, FilesAbsent, FolderContents
from kharden.controls.model import CONTROL_PLANE, ETCD, EVERYWHERE, MEMBER, NODES, WORKER, Control

_STATIC_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_ISSUE = "find out who put it there; if a key leaked, rotate what it signs"


def _static_pods(*names: str) -> FolderContents:
    return FolderContents("/etc/kubernetes/manifests", tuple(f"{name}.yaml" for name in names))


CONTROLS = (
    Control(
        "static-pod-manifests-mode",
        "Static pod manifests are root's alone",
        "high",
        CONTROL_PLANE,
        tuple(FileAttributes((f"/etc/kubernetes/manifests/{name}.yaml",), 0o600) for name in _STATIC_PODS),
        with_member=(FileAttributes(("/etc/kubernetes/manifests/etcd.yaml",), 0o600),),
    ),
    Control(
        "static-pods-control-plane",
        "The static pod folder of a control plane holds its components and nothing else",
        "critical",
        CONTROL_PLANE,
        (),
        "remove what is not one of them: the kubelet runs every file in that folder",
        with_member=(_static_pods("etcd", *_STATIC_PODS),),
        without_member=(_static_pods(*_STATIC_PODS),),
    ),
    Control(
        "static-pods-worker",
        "A worker runs no static pods",
        "critical",
        WORKER,
        (FolderContents("/etc/kubernetes/manifests", ()),),
        "remove what is there: the kubelet runs every file in that folder",
    ),
    Control(
        "kubeconfigs-mode",
        "Kubeconfigs of administrator, scheduler and controller manager are root's alone",
        "critical",
        CONTROL_PLANE,
        (
            FileAttributes(("/etc/kubernetes/admin.conf",), 0o600),
            FileAttributes(("/etc/kubernetes/scheduler.conf",), 0o600),
            FileAttributes(("/etc/kubernetes/controller-manager.conf",), 0o600),
        ),
    ),
    Control(
        "super-admin-kubeconfig-absent",
        "No node has the kubeconfig that bypasses RBAC",
        "critical",
        EVERYWHERE,
        (FilesAbsent(("/etc/kubernetes/super-admin.conf",)),),
        "delete /etc/kubernetes/super-admin.conf; if others could read it, rotate the cluster's CA",
    ),
    Control(
        "kubelet-kubeconfig-mode",
        "The kubelet's kubeconfig is root's alone",
        "high",
        NODES,
        (FileAttributes(("/etc/kubernetes/kubelet.conf",), 0o600),),
    ),
    Control(
        "kubelet-configuration-mode",
        "The kubelet's configuration is root's alone",
        "medium",
        NODES,
        (FileAttributes(("/var/lib/kubelet/config.yaml",), 0o600),),
    ),
    Control(
        "kubelet-unit-mode",
        "The kubelet's unit file is root's alone",
        "medium",
        NODES,
        (FileAttributes(("/etc/systemd/system/kubelet.service",), 0o600),),
    ),
    Control(
        "kubelet-keys-mode",
        "The kubelet's own keys are root's alone",
        "high",
        NODES,
        (FileAttributes(("/var/lib/kubelet/pki/*.pem",), 0o600),),
    ),
    Control(
        "client-authority-mode",
        "The cluster's CA certificate can be changed by root alone",
        "high",
        NODES,
        (FileAttributes(("/etc/kubernetes/pki/ca.crt",), 0o644),),
    ),
    Control(
        "pki-owner",
        "Everything below /etc/kubernetes/pki belongs to root",
        "high",
        EVERYWHERE,
        (FileAttributes(("/etc/kubernetes/pki", "/etc/kubernetes/pki/**"), 0o755),),
    ),
    Control(
        "pki-certificates-mode",
        "Certificates can be changed by root alone",
        "medium",
        (*CONTROL_PLANE, *ETCD),
        (FileAttributes(("/etc/kubernetes/pki/**/*.crt",), 0o644),),
    ),
    Control(
        "pki-keys-mode",
        "Private keys can be read by root alone",
        "critical",
        (*CONTROL_PLANE, *ETCD),
        (FileAttributes(("/etc/kubernetes/pki/**/*.key",), 0o600),),
    ),
    Control(
        "offline-authority-keys-absent",
        "No control plane has the key of etcd's CA or of the front proxy's CA",
        "critical",
        CONTROL_PLANE,
        (
            FilesAbsent(
                (
                    "/etc/kubernetes/pki/etcd/ca.key",
                    "/etc/kubernetes/pki/front-proxy-ca.key",
                    "/etc/kharden/etcd/ca.key",
                )
            ),
        ),
        _ISSUE,
        # Where etcd is elsewhere, so are its members' keys.
        without_member=(FilesAbsent(("/etc/kubernetes/pki/etcd/*.key", "/etc/kharden/etcd/*")),),
    ),
    Control(
        "etcd-machine-keys",
        "A machine of etcd's own has no key but its member's, and nothing to reach the API with",
        "critical",
        ETCD,
        (
            FilesAbsent(
                (
                    "/etc/kubernetes/*.conf",
                    "/etc/kubernetes/pki/*.key",
                    "/etc/kubernetes/pki/etcd/ca.key",
                    "/etc/kharden/etcd/ca.key",
                    "/etc/kharden/api/*",
                )
            ),
        ),
        _ISSUE,
    ),
    Control(
        "worker-keys-absent",
        "A worker has no key but its kubelet's own",
        "critical",
        WORKER,
        (FilesAbsent(("/etc/kubernetes/**/*.key", "/etc/kharden/**/*.key")),),
        _ISSUE,
    ),
    Control(
        "join-credentials-absent",
        "No node keeps the credential with which it joined",
        "high",
        EVERYWHERE,
        (FilesAbsent(("/etc/kubernetes/bootstrap-kubelet.conf", "/run/kharden/discovery.conf")),),
        "delete the file; its token expires within 15 minutes of being made",
    ),
    Control(
        "api-configuration-mode",
        "What the API server reads at start (encryption keys, admission, authentication, audit policy) is root's alone",
        "critical",
        CONTROL_PLANE,
        (FileAttributes(("/etc/kharden/api/*.yaml",), 0o600), FileAttributes(("/etc/kharden/api",), 0o700)),
    ),
    Control(
        "etcd-data-directory",
        "etcd's data belongs to etcd's own user and to nobody else",
        "critical",
        MEMBER,
        (
            FileAttributes(("/var/lib/etcd",), 0o700, "etcd", "etcd"),
            # etcd makes its snapshots (member/snap/*.snap) 0644; nobody else gets past the folder above (V-242459).
            FileAttributes(("/var/lib/etcd/**/*",), 0o744, "etcd", "etcd"),
        ),
    ),
    Control(
        "etcd-keys-mode",
        "etcd's copies of its keys can be read by etcd alone",
        "critical",
        MEMBER,
        (
            FileAttributes(("/etc/kharden/etcd",), 0o700, "etcd", "etcd"),
            FileAttributes(("/etc/kharden/etcd/*",), 0o400, "etcd", "etcd"),
        ),
    ),
    Control(
        "audit-log-mode",
        "The audit log can be read by root alone",
        "high",
        CONTROL_PLANE,
        (
            FileAttributes(("/var/log/kubernetes/audit",), 0o700),
            FileAttributes(("/var/log/kubernetes/audit/*",), 0o600),
        ),
    ),
    Control(
        "cni-configuration-mode",
        "The pod network's configuration is root's alone",
        "medium",
        NODES,
        (FileAttributes(("/etc/cni/net.d/*",), 0o600),),
        networks=("routed", "manifest"),
    ),
    Control(
        "containerd-files-mode",
        "The runtime's configuration and socket are root's alone",
        "high",
        NODES,
        (
            FileAttributes(("/etc/containerd/config.toml",), 0o600),
            FileAttributes(("/run/containerd/containerd.sock",), 0o660),
        ),
    ),
    Control(
        "kharden-files-mode",
        "What kharden itself keeps on a machine is root's alone",
        "medium",
        EVERYWHERE,
        (FileAttributes(("/var/lib/kharden",), 0o700),),
    ),
    Control(
        "kubeadm-files-mode",
        "The configuration of kubeadm is root's alone",
        "medium",
        NODES,
        (FileAttributes(("/etc/kharden/kubeadm",), 0o700),),
    ),
    Control(
        "programs-mode",
        "Programs of the cluster can be changed by root alone",
        "critical",
        EVERYWHERE,
        (FileAttributes(("/usr/local/bin", "/usr/local/bin/*"), 0o755),),
    ),
    Control(
        "network-programs-mode",
        "Programs of the pod network can be changed by root alone",
        "critical",
        NODES,
        (FileAttributes(("/opt/cni/bin", "/opt/cni/bin/*"), 0o755),),
    ),
)
