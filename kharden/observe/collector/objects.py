"""What the API has of nodes and namespaces: marks, policies, quotas, limits, and pods that are tried against them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kharden.observe.collector.cluster import Api

_REFUSAL = re.compile(r"Error from server \((?P<reason>\w+)\): (?P<message>.*)")
_MESSAGE_LIMIT = 400


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
    """Whether an object would be admitted (a dry run on the server), with which resources, and why not."""
    call = api.run("create", "--raw", f"{path}?dryRun=All", "-f", "-", body=body)
    if call.returncode == 0:
        return {"admitted": True, "message": "", "resources": _resources(call.stdout)}
    refusal = _REFUSAL.search(call.stderr)
    if refusal is None:
        raise RuntimeError((call.stderr.strip().splitlines() or ["no reason given"])[-1][:_MESSAGE_LIMIT])
    return {"admitted": False, "message": refusal["message"][:_MESSAGE_LIMIT], "resources": {}}


def _resources(answer: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer)["spec"]["containers"][0].get("resources") or {}
    return found
