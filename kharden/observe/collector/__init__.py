"""The program that runs on a node: raw facts as one JSON document, no opinion.

It is sent over ssh and started as root (`kharden.observe.shipping`), needs Python 3.11 and nothing else, and writes
nothing to the node. What it looks for comes with it (`kharden.observe.request`). It never gives away what a key, a
token or a secret object holds. What can't be observed is `{"error": reason}` in its place.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from kharden.observe.collector import (
    api,
    audit,
    cluster,
    features,
    files,
    firewall,
    journal,
    kernel,
    objects,
    packages,
    pod,
    probes,
    processes,
    reach,
    scratch,
    sshd,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_MESSAGE_LIMIT = 300
_WAITING = 4
_WAITING_AT_ONCE = 64


def collect(request: dict[str, Any]) -> dict[str, Any]:
    """Every section that the request asks for.

    Or who is there; or what became of objects of our own; or, while they are there, what our pods reach and how etcd
    holds objects.
    """
    if "present" in request:
        return {"present": _section(_present, request["present"])}
    if "scratch_pods" in request:
        return {"scratch_pods": _section(_scratch_pods, **request["scratch_pods"])}
    if "within_pods" in request:
        reached = {
            key: _section(pod.attempts, each["uid"], each["asked"]) for key, each in request["within_pods"].items()
        }
        return reached | {"etcd": _section(_etcd, request["etcd"])}
    with ThreadPoolExecutor(_WAITING) as pool:  # what mostly waits for others, meanwhile
        waiting = {
            "handshakes": pool.submit(_at_once, probes.handshake, request["handshakes"]),
            "probes": pool.submit(_at_once, probes.probe, request["probes"]),
            "from_here": pool.submit(_section, reach.attempts, request["from_here"]),
            "cluster": pool.submit(_section, _cluster, request["cluster"]),
        }
        looked_at = {
            "files": _section(files.find, request["patterns"]),
            "folders": _each(files.names, request["folders"]),
            "digests": _each(files.digest, request["digests"]),
            "packaged": _each(packages.packaged, request["packaged"]),
            "certificates": _each(files.certificates, request["certificates"]),
            "kubeconfigs": _each(files.kubeconfig, request["kubeconfigs"]),
            "processes": _section(processes.processes, request["programs"]),
            "sockets": _section(processes.sockets),
            "sysctls": _each(kernel.sysctl, request["sysctls"]),
            "interfaces": _each(kernel.of_interfaces, request["interfaces"]),
            "units": _each(kernel.unit, request["units"]),
            "journal": _section(journal.journal),
            "sshd": {user: _section(sshd.settings, user, **place) for user, place in request["sshd"].items()},
            "sshd_keyless": _section(sshd.keyless),
            "firewall": _section(firewall.rules, request["firewall"]),
            "features": {name: _section(features.alpha_by_http, url) for name, url in request["features"].items()},
        }
        return looked_at | {name: future.result() for name, future in waiting.items()}


def _present(own: dict[str, Any] | None) -> dict[str, Any]:
    """That this node answers, and on a control plane that its API server is ready."""
    if own is not None:
        api.Api(**own).await_ready()
    return {}


def _scratch_pods(*, api_of: dict[str, Any], namespaces: list[str], made: dict[str, Any] | None) -> dict[str, Any]:
    """Make pods and a secret and find the cluster's DNS, or remove them."""
    own = api.Api(**api_of)
    if made is None:
        return {"secret": _section(scratch.remove_secret, own), "removed": scratch.remove(own, namespaces)}
    return {
        "dns": _section(scratch.dns, own),
        "secret": _section(scratch.make_secret, own),
        "pods": _section(scratch.make, own, made["wanted"], made["pod"]),
    }


def _cluster(asked: dict[str, Any] | None) -> dict[str, Any]:
    """What only a control plane can be asked; each part may fail alone."""
    if asked is None:
        return {}
    own = api.Api(**asked["api"])
    with cluster.scratch_secret(own, asked["node"], make=asked["active"]) as secret:
        return {
            "kubelets": {
                name: _section(cluster.kubelet_settings, own, name, asked["settings"]) for name in asked["kubelets"]
            },
            "features": {"kube-apiserver": _section(features.alpha_by_api, own, "/metrics")}
            | {
                name: _section(features.alpha_by_api, own.on_loopback(port), "/metrics")
                for name, port in asked["features"].items()
            },
            "kubelet_features": {
                name: _section(features.alpha_by_api, own, f"/api/v1/nodes/{name}/proxy/metrics")
                for name in asked["kubelets"]
            },
            "pods": {key: _section(cluster.try_pod, own, pod) for key, pod in asked["pods"].items()},
            "accounts": _section(cluster.default_accounts, own),
            "nodes": _section(objects.node_marks, own),
            "namespace_labels": _section(objects.namespace_labels, own),
            "specs": {path: _section(objects.specs, own, path) for path in asked["specs"]},
            "trials": {key: _section(objects.tried, own, **trial) for key, trial in asked["trials"].items()},
            "objects": {path: _section(cluster.object_names, own, path) for path in asked["objects"]},
            "namespaces": _section(cluster.try_namespaces, own, asked["violation"]) if asked["active"] else {},
            "audit": _section(audit.audited, asked["audit_log"], secret),
            "audit_levels": _section(audit.levels, asked["audit_log"], asked["audited"], asked["audited_last"])
            if asked["active"]
            else {},
        }


def _etcd(asked: dict[str, Any] | None) -> dict[str, Any]:
    """How what a member of etcd holds begins."""
    if asked is None:
        return {}
    return {name: _section(cluster.prefixes, asked["command"], folder) for name, folder in asked["stored"].items()}


def _at_once(look: Callable[..., object], asked: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Connections that are dropped on the way take their whole time: they wait side by side."""
    with ThreadPoolExecutor(_WAITING_AT_ONCE) as pool:
        futures = {key: pool.submit(_section, look, **named) for key, named in asked.items()}
        return {key: future.result() for key, future in futures.items()}


def _each(look: Callable[[str], object], names: list[str]) -> dict[str, Any]:
    return {name: _section(look, name) for name in names}


def _section(look: Callable[..., object], *arguments: object, **named: object) -> Any:  # noqa: ANN401  # JSON
    try:
        return look(*arguments, **named)
    except Exception as error:  # noqa: BLE001  # whatever went wrong: it must be told, and the rest still be looked at
        return {"error": f"{type(error).__name__}: {error}"[:_MESSAGE_LIMIT]}
