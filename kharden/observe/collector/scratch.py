"""Pods of our own, on nodes that run no other one with a network of its own: places to connect from."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kharden.observe.collector.cluster import Api

_PODS = "/api/v1/namespaces/default/pods"
_LABEL = "kharden.dev/scratch-of"
_OURS = f"{_PODS}?labelSelector={_LABEL}%3Dverify"
_RUNNING = "/api/v1/pods?fieldSelector=status.phase%3DRunning"
_SECONDS = 30.0
_LOOK_SECONDS = 0.3


def make(api: Api, nodes: list[str], pod: dict[str, Any]) -> list[str]:
    """A pod like `pod` on each of these nodes that has none; what an interrupted run left behind goes first.

    Returns:
        The nodes that got one.
    """
    remove(api)
    running = api.get(_RUNNING)["items"]
    served = {each["spec"].get("nodeName") for each in running if not each["spec"].get("hostNetwork")}
    lacking = [node for node in nodes if node not in served]
    for node in lacking:
        # No other image is sure to be there: it is the one in which every pod's network lives.
        image = next(name for name in _images(api, node) if "/pause:" in name)
        body = json.loads(json.dumps(pod).replace('"IMAGE"', json.dumps(image)).replace('"NODE"', json.dumps(node)))
        body["metadata"] = {"name": f"kharden-verify-{node}", "labels": {_LABEL: "verify"}}
        api.run("create", "--raw", _PODS, "-f", "-", body=body)
    return lacking


def _images(api: Api, node: str) -> list[str]:
    images = api.get(f"/api/v1/nodes/{node}")["status"]["images"]
    return [name for image in images for name in image["names"]]


def remove(api: Api) -> list[str]:
    """Remove them all, and see that they are gone."""
    names = [each["metadata"]["name"] for each in api.get(_OURS)["items"] or []]
    if names:
        api.run("delete", "--raw", f"{_OURS}&gracePeriodSeconds=0")
        deadline = time.monotonic() + _SECONDS
        while api.get(_OURS)["items"] and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)  # the pace of looking
    return names
