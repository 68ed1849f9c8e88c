"""Pods of our own to connect from, and a secret to find in etcd: made for one run of verify, and removed again."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kharden.observe.collector.api import Api

_LABEL = "kharden.dev/scratch-of"
_OURS = f"labelSelector={_LABEL}%3Dverify"
_SECRETS = "/api/v1/namespaces/kube-system/secrets"
# A kubelet that lost its API server looks for it again after up to a minute (client-go's reflector backs off so far).
_START_SECONDS = 120.0
_END_SECONDS = 60.0
_LOOK_SECONDS = 0.2


def make(api: Api, wanted: list[dict[str, str]], pod: dict[str, Any]) -> dict[str, Any]:
    """Pods like `pod`, each in the namespace and on the node that it is wanted for; all have left `Pending` then.

    Args:
        api: who makes them.
        wanted: name, namespace and node of each; no two have the same name.
        pod: what they are like.

    Returns:
        Name → {"uid"} of a pod that runs, or {"error"} with what it waits for.
    """
    namespaces = sorted({each["namespace"] for each in wanted})
    remove(api, namespaces)
    unready = _unready(api)
    found: dict[str, Any] = {}
    for each in wanted:
        if each["node"] in unready:
            found[each["name"]] = {"error": f"{each['node']} is not ready, so no pod starts there"}
            continue
        metadata = {"name": each["name"], "labels": {_LABEL: "verify"}}
        body = {**pod, "metadata": metadata, "spec": {**pod["spec"], "nodeName": each["node"]}}
        try:
            api.create(f"/api/v1/namespaces/{each['namespace']}/pods", body)
        except RuntimeError as refusal:
            found[each["name"]] = {"error": f"the scratch pod was refused: {refusal}"}
    return found | _started(api, namespaces, {each["name"] for each in wanted} - set(found))


def _unready(api: Api) -> set[str]:
    """Nodes whose kubelet says that they aren't ready, or says nothing any more."""
    return {
        node["metadata"]["name"]
        for node in api.get("/api/v1/nodes")["items"]
        if not any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"]["conditions"])
    }


def _started(api: Api, namespaces: list[str], names: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    deadline = time.monotonic() + _START_SECONDS
    while names - found.keys():
        late = time.monotonic() > deadline
        for pod in _ours(api, namespaces):
            name, status = pod["metadata"]["name"], pod["status"]
            if status.get("phase") == "Running" and status.get("podIP"):
                found[name] = {"uid": pod["metadata"]["uid"]}
            elif status.get("phase") == "Failed":  # it was evicted before it began, for one: it never runs
                reason = f"{status.get('reason', '')} {status.get('message', '')}".strip()
                found[name] = {"error": f"the scratch pod's kubelet didn't run it: {reason}"}
            elif late and name not in found:
                found[name] = {
                    "error": f"the scratch pod didn't run within {_START_SECONDS:.0f} s: {_waits_for(status)}"
                }
        if late:
            return {name: {"error": "the scratch pod is gone"} for name in names} | found
        if names - found.keys():
            time.sleep(_LOOK_SECONDS)  # the pace of looking; the pods' state ends the wait
    return found


def _waits_for(status: dict[str, Any]) -> str:
    """The most that is known of why a pod doesn't run."""
    for container in status.get("containerStatuses") or ():
        waiting = container.get("state", {}).get("waiting")
        if waiting:
            return f"{waiting.get('reason', 'waiting')} {waiting.get('message', '')}".strip()
    return "its kubelet has not taken it up" if not status.get("conditions") else json.dumps(status["conditions"])[:200]


def _ours(api: Api, namespaces: list[str]) -> list[dict[str, Any]]:
    return [pod for name in namespaces for pod in api.get(f"/api/v1/namespaces/{name}/pods?{_OURS}")["items"] or ()]


def remove(api: Api, namespaces: list[str]) -> list[str]:
    """Remove them all, with what an interrupted run left behind, and see that they are gone; their names."""
    names = [pod["metadata"]["name"] for pod in _ours(api, namespaces)]
    if names:
        for namespace in namespaces:
            api.delete(f"/api/v1/namespaces/{namespace}/pods?{_OURS}")
        deadline = time.monotonic() + _END_SECONDS
        while _ours(api, namespaces) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)  # the pace of looking
    return names


def make_secret(api: Api) -> None:
    """A secret, so that members of etcd have one to look at; there is nothing secret in it."""
    remove_secret(api)
    metadata = {"name": "kharden-verify", "labels": {_LABEL: "verify"}}
    api.create(_SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"of": "verify"}})


def remove_secret(api: Api) -> None:
    """Remove it, also where an interrupted run left it behind."""
    api.delete(f"{_SECRETS}?{_OURS}")


def dns(api: Api) -> str:
    """The address of a pod of the cluster's DNS that is ready.

    Raises:
        RuntimeError: there is none.
    """
    slices = api.get("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices?labelSelector=k8s-app%3Dkube-dns")
    found = [
        address
        for one in slices["items"]
        for endpoint in one.get("endpoints") or ()
        if endpoint.get("conditions", {}).get("ready")
        for address in endpoint["addresses"]
    ]
    if not found:
        raise RuntimeError("no pod of the cluster's DNS is ready")
    return str(min(found))
