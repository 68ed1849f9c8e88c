"""Collecting: one run of the collector on every node, all at once."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from kharden.errors import RemoteError
from kharden.observe import scratch
from kharden.observe.attempts import CONTROLLER
from kharden.observe.collector import reach
from kharden.observe.connection import connections
from kharden.observe.facts import Facts, Snapshot
from kharden.observe.request import attempts, request
from kharden.observe.shipping import program

if TYPE_CHECKING:
    from kharden.observe.connection import Connection
    from kharden.plan.model import ClusterPlan, NodePlan

# More than the two minutes that pods to connect from have for their start: everything may be slow.
_SECONDS = 300.0
_WORKERS_PER_CPU = 8
_DOCUMENT_LIMIT = 64 << 20


def collect(plan: ClusterPlan, pause_image: str, *, passive: bool = False, now: datetime) -> Snapshot:
    """Every node's facts. A node that can't be looked at has the reason in its place, and is judged "unknown".

    Args:
        plan: the cluster.
        pause_image: what pods to connect from are made of; every node has it.
        passive: write nothing and try no pod.
        now: the time of the run; the snapshot's is that, and what the collecting took.

    Raises:
        IntegrityError: a node's ssh host key is not the pinned one; the run ends.
    """
    begun = time.monotonic()
    # One more than nodes: the first control plane also makes the pods.
    workers = min(len(plan.nodes) + 1, _WORKERS_PER_CPU * (os.cpu_count() or 1))
    tried = attempts(plan)
    first = plan.control_planes[0]
    with connections(plan) as connection, ThreadPoolExecutor(workers) as pool:
        made = None if passive else pool.submit(_document, connection, first, scratch.making(plan, pause_image))
        try:
            own = pool.submit(_own_document, tried)
            asked = [request(plan, node, tried, passive=passive) for node in plan.nodes]
            documents = list(pool.map(lambda node, each: _document(connection, node, each), plan.nodes, asked))
            pods = Facts(made.result(), first.name) if made else None
            within = pool.map(lambda node: _within(connection, node, tried, pods), plan.nodes)
            nodes = {
                node.name: document if "error" in document else document | reached
                for node, document, reached in zip(plan.nodes, documents, within, strict=True)
            }
        finally:
            if made:
                wait([made])  # what is being made would outlive its removal
                _document(connection, first, scratch.removing(plan))
    at = now.astimezone(UTC) + timedelta(seconds=round(time.monotonic() - begun))
    return Snapshot(at, passive, {**nodes, CONTROLLER: own.result()})


def _within(
    connection: Connection, node: NodePlan, tried: dict[str, dict[str, Any]], pods: Facts | None
) -> dict[str, Any]:
    """What a node's pods reach."""
    wanted = tried.get(node.name, {}).get("from_pod", {})
    asked, lacking = scratch.asking(node, wanted, pods)
    answer = _document(connection, node, asked)
    failed = "error" in answer
    return {key: answer if failed else answer.get(key) for key in asked["within_pods"]} | lacking


def _own_document(tried: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What this machine sees of the nodes' ports."""
    return {"from_here": reach.attempts(tried.get(CONTROLLER, {}).get("from_here", {}))}


def _document(connection: Connection, node: NodePlan, asked: dict[str, Any]) -> dict[str, Any]:
    text = program(asked)
    try:
        return parse(connection.run_python(node, text, seconds=_SECONDS), node.name)
    except RemoteError as error:
        return {"error": error.message}


def parse(content: bytes, node: str) -> dict[str, Any]:
    """A collector's document.

    Raises:
        RemoteError: it is none.
    """
    try:
        if len(content) <= _DOCUMENT_LIMIT:
            document = json.loads(content)
            if isinstance(document, dict):
                return document
    except (ValueError, RecursionError):
        pass
    raise RemoteError(f"{node}: what the collector printed is not its document", remedy="look at the node")
