# SPDX-License-Identifier: Apache-2.0
"""What the API says of the cluster's health, judged as `kubectl wait` and `kubectl rollout status` judge it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIGNER = "kubernetes.io/kubelet-serving"
_DECIDED = {"Approved", "Denied", "Failed"}


def unwell(items: Iterable[dict[str, Any]], nodes: Iterable[str], workloads: Iterable[str]) -> list[str]:
    """What isn't as it should be: `nodes` that aren't ready, `workloads` (`Deployment/coredns`) that aren't rolled out.

    Requests for serving certificates that nobody has decided about count too.
    """
    known = {f"{item['kind']}/{item['metadata']['name']}": item for item in items}
    found = [name for name in nodes if not _is_ready(known.get(f"Node/{name}"))]
    found += [name for name in workloads if not _is_rolled_out(known.get(name))]
    requests = (item for item in known.values() if item["kind"] == "CertificateSigningRequest")
    return found + [item["metadata"]["name"] for item in requests if _is_open(item)]


def _is_ready(node: dict[str, Any] | None) -> bool:
    conditions = node["status"].get("conditions") or () if node else ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _is_rolled_out(item: dict[str, Any] | None) -> bool:
    """As polymorphichelpers/rollout_status.go of k8s.io/kubectl; what isn't there is not."""
    if item is None:
        return False
    status = item["status"]
    if status.get("observedGeneration", 0) < item["metadata"]["generation"]:
        return False
    if item["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        return bool(status.get("updatedNumberScheduled", 0) >= wanted and status.get("numberAvailable", 0) >= wanted)
    updated = status.get("updatedReplicas", 0)
    return bool(
        updated >= item["spec"].get("replicas", 1)
        and status.get("replicas", 0) <= updated
        and status.get("availableReplicas", 0) >= updated
    )


def lacks_pods(item: dict[str, Any]) -> bool:
    """Whether a workload has fewer pods than it shall have: somebody has yet to make them, or may not."""
    status = item["status"]
    if item["kind"] == "DaemonSet":
        return bool(status.get("currentNumberScheduled", 0) < status.get("desiredNumberScheduled", 0))
    return bool(status.get("replicas", 0) < item["spec"].get("replicas", 1))


def pod_of(item: dict[str, Any]) -> dict[str, Any]:
    """A pod as a workload's controller makes them."""
    template = item["spec"]["template"]
    name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
    metadata = template.get("metadata", {}) | {"generateName": f"{name}-", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _is_open(request: dict[str, Any]) -> bool:
    """Whether a person or this tool has still to decide; as kharden.certificates, which nodes don't have."""
    status = request.get("status") or {}
    decided = any(condition["type"] in _DECIDED for condition in status.get("conditions") or ())
    return request["spec"]["signerName"] == _SIGNER and not decided and not status.get("certificate")
