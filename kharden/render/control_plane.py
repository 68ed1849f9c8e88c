"""Files of a control plane: what the API server reads, keys and certificates, kubeconfigs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from kharden.plan import arguments
from kharden.plan.endpoints import API_PORT, bracketed
from kharden.render.artefact import Artefact
from kharden.render.text import render

if TYPE_CHECKING:
    from kharden.pki.views import ControlPlaneSecrets, EncryptionKey, KeyedCertificate, SecretFile
    from kharden.plan.model import ClusterPlan, NodePlan

_API = "static-pod/kube-apiserver"


def api_server_files(plan: ClusterPlan, secrets: ControlPlaneSecrets) -> tuple[Artefact, ...]:
    """What lies in /etc/kharden/api and is mounted into the API server."""
    return (
        _api_file("authentication", {}, controls=("apiserver-anonymous-limited",)),
        _admission(plan),
        _api_file(
            "audit-policy",
            {
                "reads": "Metadata" if plan.audit.reads else "None",
                "contents": "RequestResponse" if plan.audit.contents else "Metadata",
            },
            controls=("apiserver-audit-log", "audit-keeps-secrets-out"),
        ),
        _encryption(plan, secrets.encryption_keys),
    )


def _admission(plan: ClusterPlan) -> Artefact:
    own = plan.admission
    values: dict[str, object] = {
        "event_rate_limits": [
            {"type": limit.type, "qps": limit.qps, "burst": limit.burst} for limit in own.event_rate_limits
        ],
        "pod_security": own.pod_security,
        "pod_security_version": f"v{plan.minor}",
        "exempt_namespaces": own.exempt_namespaces,
        "exempt_usernames": own.exempt_usernames,
        "exempt_runtime_classes": own.exempt_runtime_classes,
    }
    return _api_file("admission", values, controls=("pod-security-enforced",))


def _api_file(name: str, values: dict[str, object], *, controls: tuple[str, ...]) -> Artefact:
    path = f"{arguments.API_FOLDER}/{name}.yaml"
    return Artefact(path, render(path[1:], values), mode=0o600, restarts=(_API,), controls=controls)


def _encryption(plan: ClusterPlan, keys: tuple[EncryptionKey, ...]) -> Artefact:
    path = f"{arguments.API_FOLDER}/encryption.yaml"
    values = {
        "provider": plan.encryption.provider,
        "resources": list(plan.encryption.resources),
        "keys": [{"name": key.name, "secret": base64.b64encode(key.secret).decode()} for key in keys],
    }
    # No restart: the API server reloads this file by itself, and a rotation is gated on what it has loaded.
    return Artefact(path, render(path[1:], values), mode=0o600, store="data", controls=("etcd-encryption-at-rest",))


def pki_files(files: tuple[SecretFile, ...]) -> tuple[Artefact, ...]:
    """/etc/kubernetes/pki: certificates that everybody may read, keys that root alone may."""
    return tuple(
        Artefact(
            f"/etc/kubernetes/pki/{file.path}",
            file,
            mode=0o600 if file.store else 0o644,
            store=file.store,
            restarts=_reader(file.path),
            controls=("pki-keys-mode",) if file.store else ("pki-certificates-mode",),
        )
        for file in files
    )


def _reader(path: str) -> tuple[str, ...]:
    """Which process has to start again to read a file below pki/; serving certificates are reloaded while running."""
    if path.startswith("etcd/"):
        return ()
    if path == "ca.key":
        return ("static-pod/kube-controller-manager",)
    if path == "sa.key":
        return (_API, "static-pod/kube-controller-manager")
    if path.startswith(("apiserver.", "front-proxy-client.")):
        return ()
    return (_API,)


def kubeconfigs(plan: ClusterPlan, node: NodePlan, secrets: ControlPlaneSecrets) -> tuple[Artefact, ...]:
    """admin.conf by way of the balancer; the node's own components by way of its own API server, as kubeadm has it."""
    local = f"https://{bracketed(node.address)}:{API_PORT}"
    users = (
        ("admin", "kubernetes-admin", secrets.admin, f"https://{plan.endpoint}"),
        ("controller-manager", "system:kube-controller-manager", secrets.controller_manager, local),
        ("scheduler", "system:kube-scheduler", secrets.scheduler, local),
    )
    return tuple(
        Artefact(
            f"/etc/kubernetes/{name}.conf",
            kubeconfig(plan.name, secrets.authority, pair, user=user, server=server),
            mode=0o600,
            store="leaves",
            restarts=(f"static-pod/kube-{name}",) if pair is not secrets.admin else (),
            controls=("kubeconfigs-mode",),
        )
        for name, user, pair, server in users
    )


def kubeconfig(cluster: str, authority: bytes, pair: KeyedCertificate, *, user: str, server: str) -> bytes:
    """A kubeconfig of one cluster and one user, with everything embedded."""
    return render(
        "etc/kubernetes/kubeconfig",
        {
            "cluster": cluster,
            "authority": base64.b64encode(authority).decode(),
            "server": server,
            "user": user,
            "certificate": base64.b64encode(pair.certificate).decode(),
            "key": base64.b64encode(pair.key).decode(),
            "context": f"{user}@{cluster}",
        },
    )
