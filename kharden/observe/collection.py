"""Collecting: one run of the collector on every node, all at once."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from kharden.errors import RemoteError
from kharden.observe.attempts import CONTROLLER
from kharden.observe.collector import reach
from kharden.observe.connection import connections
from kharden.observe.facts import Snapshot
from kharden.observe.request import attempts, request, scratch_pods
from kharden.observe.shipping import program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.observe.connection import Connection
    from kharden.plan.model import ClusterPlan, NodePlan

_SECONDS = 180.0
_WORKERS_PER_CPU = 8
_DOCUMENT_LIMIT = 64 << 20


def collect(plan: ClusterPlan, *, passive: bool = False, now: datetime) -> Snapshot:
    """Every node's facts. A node that can't be looked at has the reason in its place, and is judged "unknown".

    Args:
        plan: the cluster.
        passive: write nothing and try no pod.
        now: the time of the run; the snapshot's is that, and what the collecting took.

    Raises:
        IntegrityError: a node's ssh host key is not the pinned one; the run ends.
    """
    begun = time.monotonic()
    workers = min(len(plan.nodes), _WORKERS_PER_CPU * (os.cpu_count() or 1))
    tried = attempts(plan)
    with connections(plan) as connection, ThreadPoolExecutor(workers) as pool, _places(connection, plan, passive):
        own = pool.submit(_own_document, tried)
        asked = {node.name: request(plan, node, tried, passive=passive) for node in plan.nodes}
        found = pool.map(lambda node: _document(connection, node, asked[node.name]), plan.nodes)
        documents = dict(zip((node.name for node in plan.nodes), found, strict=True))
        documents[CONTROLLER] = own.result()
    at = now.astimezone(UTC) + timedelta(seconds=round(time.monotonic() - begun))
    return Snapshot(at, passive, documents)


@contextmanager
def _places(connection: Connection, plan: ClusterPlan, passive: bool) -> Iterator[None]:  # noqa: FBT001  # as it came
    """Pods to connect from, for as long as they are needed; where none can be had, what needs them says so."""
    first = plan.control_planes[0]
    if not passive:
        _document(connection, first, scratch_pods(plan, make=True))
    try:
        yield
    finally:
        if not passive:
            _document(connection, first, scratch_pods(plan, make=False))


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
