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
from kharden.observe.request import attempts, etcd_question, request
from kharden.observe.shipping import program
from kharden.observe.witnesses import Witnesses

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
    # One more than nodes: a control plane also makes the pods.
    workers = min(len(plan.nodes) + 1, _WORKERS_PER_CPU * (os.cpu_count() or 1))
    with connections(plan) as connection, ThreadPoolExecutor(workers) as pool:
        witnesses = _witnesses(plan, connection, pool)
        first, tried, present = witnesses.speakers[0], attempts(witnesses), witnesses.nodes
        made = None if passive else pool.submit(_document, connection, first, scratch.making(witnesses, pause_image))
        try:
            own = pool.submit(_own_document, tried)
            asked = [request(witnesses, node, tried, passive=passive) for node in present]
            documents = list(pool.map(lambda node, each: _document(connection, node, each), present, asked))
            pods = Facts(made.result(), first.name) if made else None
            within = pool.map(lambda node: _within(connection, witnesses, node, tried, pods), present)
            nodes = {
                node.name: document if "error" in document else document | reached | _silence(witnesses, node)
                for node, document, reached in zip(present, documents, within, strict=True)
            }
        finally:
            if made:
                wait([made])  # what is being made would outlive its removal
                _document(connection, first, scratch.removing(witnesses))
    at = now.astimezone(UTC) + timedelta(seconds=round(time.monotonic() - begun))
    unseen = {name: {"error": reason} for name, reason in witnesses.away.items()}
    return Snapshot(
        at, passive, {**nodes, **unseen, CONTROLLER: own.result()}, away=witnesses.away, mute=witnesses.mute
    )


def _witnesses(plan: ClusterPlan, connection: Connection, pool: ThreadPoolExecutor) -> Witnesses:
    """Who can be asked: found out first, since one who is away can't be asked for what others know too."""
    asked = [{"present": scratch.api_of(node) if node.role == "control-plane" else None} for node in plan.nodes]
    found = pool.map(lambda node, each: _document(connection, node, each), plan.nodes, asked)
    away: dict[str, str] = {}
    mute: dict[str, str] = {}
    for node, answer in zip(plan.nodes, found, strict=True):
        for reasons, place in ((away, answer), (mute, answer.get("present"))):
            if isinstance(place, dict) and "error" in place:
                reasons[node.name] = str(place["error"])
    return Witnesses(plan, away, mute)


def _silence(witnesses: Witnesses, node: NodePlan) -> dict[str, Any]:
    """What a control plane was not asked, since its API server isn't ready: each question would wait in vain."""
    return {"cluster": {"error": witnesses.mute[node.name]}} if node.name in witnesses.mute else {}


def _within(
    connection: Connection,
    witnesses: Witnesses,
    node: NodePlan,
    tried: dict[str, dict[str, Any]],
    pods: Facts | None,
) -> dict[str, Any]:
    """What a node's pods reach, and how its member of etcd holds what was made."""
    wanted = tried.get(node.name, {}).get("from_pod", {})
    asked, lacking = scratch.asking(witnesses, node, wanted, pods) if node.kubelet else ({"within_pods": {}}, {})
    answer = _document(connection, node, asked | {"etcd": etcd_question(witnesses.plan, node)})
    failed = "error" in answer
    return {key: answer if failed else answer.get(key) for key in (*asked["within_pods"], "etcd")} | lacking


def _own_document(tried: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What this machine sees of the nodes' ports."""
    return {"from_here": reach.attempts(tried.get(CONTROLLER, {}).get("from_here", {}))}


def _document(connection: Connection, node: NodePlan, asked: dict[str, Any]) -> dict[str, Any]:
    text = program(asked)
    try:
        return parse(connection.run_python(node, text, seconds=_SECONDS), node.name)
    except RemoteError as error:
        return {"error": error.message.removeprefix(f"{node.name}: ")}


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
