"""Pods for tests in the lab: they hold a network and do nothing, and what a test runs in it is the node's own."""

from __future__ import annotations

import json
from typing import Any

Object = dict[str, Any]


def service(name: str, *, node_port: int = 0) -> Object:
    """Of the pod of that name; on a port of every node where one is named."""
    port = {"port": 80, "targetPort": 8080}
    own = {"type": "NodePort", "ports": [port | {"nodePort": node_port}]} if node_port else {"ports": [port]}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": {"app": name}} | own}


def pod(name: str, node: str, image: str) -> Object:
    """A pod that the restricted Pod Security Standard lets in, on that node."""
    container = {
        "name": "pause",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "nodeName": node,
        "automountServiceAccountToken": False,
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65535, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    metadata = {"name": name, "namespace": "default", "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def several(*objects: Object) -> str:
    """One document, as kubectl takes it."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def enter(found: Object) -> str:
    """How to enter the network of a pod, on its node: by a process that its control group names."""
    uid = found["metadata"]["uid"].replace("-", "[-_]")
    return f"nsenter --net --target $(grep -lE 'pod{uid}' /proc/[0-9]*/cgroup | head -1 | cut -d/ -f3) -- "


def pause_image(nodes: Object) -> str:
    """The one image that every node has and that does nothing."""
    return next(
        str(name)
        for item in nodes["items"]
        for image in item["status"]["images"]
        for name in image["names"]
        if "/pause:" in name
    )
