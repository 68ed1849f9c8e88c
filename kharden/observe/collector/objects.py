"""What the API has of nodes and namespaces: marks, policies, quotas, limits, and pods that are tried against them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kharden.observe.collector.api import Api


def node_marks(api: Api) -> dict[str, Any]:
    """Node → its labels, and its taints as [key, value, effect]."""
    return {
        node["metadata"]["name"]: {
            "labels": node["metadata"].get("labels") or {},
            "taints": [
                [taint["key"], taint.get("value", ""), taint["effect"]] for taint in node["spec"].get("taints") or ()
            ],
        }
        for node in api.get("/api/v1/nodes")["items"]
    }


def namespace_labels(api: Api) -> dict[str, dict[str, str]]:
    """Namespace → its labels."""
    items = api.get("/api/v1/namespaces")["items"]
    return {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in items}


def specs(api: Api, path: str) -> dict[str, Any]:
    """Namespace/name → what the object asks for, of every object under a path."""
    items = api.get(path)["items"] or []
    return {f"{item['metadata']['namespace']}/{item['metadata']['name']}": item["spec"] for item in items}


def tried(api: Api, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Whether a pod would be admitted (a dry run on the server), with which resources, and why not."""
    answer = api.tried(path, body)
    made = answer["object"]
    resources = made["spec"]["containers"][0].get("resources") or {} if made else {}
    return {"admitted": answer["admitted"], "message": answer["message"], "resources": resources}
