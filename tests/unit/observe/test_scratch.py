"""Pods to connect from: how they are waited for, and what is said where there are none; the API as it is asked."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from kharden.observe import scratch as places
from kharden.observe.collector import scratch
from kharden.observe.collector.api import Api
from kharden.observe.facts import Facts
from kharden.observe.witnesses import everybody
from tests.unit.observe.test_collector import Pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kharden.plan.model import ClusterPlan


class _Cluster:
    """The edge: an API server's pods and nodes. A pod runs once it was looked at `slow` times."""

    def __init__(self, slow: int = 1, unready: str = "", status: dict[str, Any] | None = None) -> None:
        self.slow, self.unready, self.status = slow, unready, status
        self.pods: dict[str, dict[str, Any]] = {}

    def get(self, path: str) -> dict[str, Any]:
        if path == "/api/v1/nodes":
            return {"items": [self._node(name) for name in ("cp1", "w1")]}
        pods = [pod for name, pod in self.pods.items() if name.startswith(path.partition("?")[0])]
        for pod in pods:
            pod["looked"] += 1
            if pod["looked"] > self.slow and self.status is None:
                pod["status"] = {"phase": "Running", "podIP": "10.200.1.2"}
        return {"items": pods}

    def _node(self, name: str) -> dict[str, Any]:
        ready = "False" if name == self.unready else "True"
        return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}

    def create(self, path: str, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        if name == "refused":
            raise RuntimeError("no")
        metadata = body["metadata"] | {"uid": f"uid-{name}"}
        self.pods[f"{path}/{name}"] = {"looked": 0, "metadata": metadata, "status": self.status or {}}

    def delete(self, path: str) -> None:
        for name in [name for name in self.pods if name.startswith(path.partition("?")[0])]:
            del self.pods[name]


def _wanted(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "namespace": "default", "node": "w1" if name == "b" else "cp1"} for name in names]


_POD: dict[str, Any] = {"kind": "Pod", "spec": {"containers": []}}


def _made(cluster: _Cluster, *names: str) -> dict[str, Any]:
    return scratch.make(cluster, _wanted(*names), _POD)  # type: ignore[arg-type]  # the edge


def test_pods_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_LOOK_SECONDS", 0)
    cluster = _Cluster(slow=3)
    assert _made(cluster, "a", "b") == {"a": {"uid": "uid-a"}, "b": {"uid": "uid-b"}}
    assert scratch.remove(cluster, ["default"]) == ["a", "b"]  # type: ignore[arg-type]  # the edge
    assert cluster.pods == {}


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"phase": "Pending"}, "its kubelet has not taken it up"),
        ({"phase": "Failed", "reason": "Evicted", "message": "no disk"}, "kubelet didn't run it: Evicted no disk"),
        ({"conditions": [{"type": "Initialized", "status": "True"}]}, "Initialized"),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImageNeverPull", "message": "gone"}}}]},
            "ErrImageNeverPull gone",
        ),
    ],
)
def test_a_pod_that_does_not_run_says_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, status: dict[str, Any], says: str
) -> None:
    monkeypatch.setattr(scratch, "_START_SECONDS", 0)
    assert says in _made(_Cluster(status=status), "a")["a"]["error"]


def test_where_a_node_is_not_ready_or_a_pod_refused_nobody_waits() -> None:
    made = _made(_Cluster(slow=0, unready="w1"), "a", "b", "refused")
    assert made["a"] == {"uid": "uid-a"}
    assert made["b"] == {"error": "w1 is not ready, so no pod starts there"}
    assert made["refused"] == {"error": "the scratch pod was refused: no"}


def test_only_the_first_control_planes_policies_are_tried_and_reasons_are_passed_on(plan: ClusterPlan) -> None:
    first, worker = plan.nodes
    pods = {"kharden-verify-cp1": {"uid": "1"}, "kharden-verify": {"uid": "2"}}
    made = Facts({"scratch_pods": {"dns": "10.200.1.3", "pods": pods}}, "cp1")
    asked, lacking = places.asking(everybody(plan), first, {"a": {"host": "192.0.2.1", "port": 1}}, made)
    assert [(key, each["uid"]) for key, each in asked["within_pods"].items()] == [("from_pod", "1"), ("policies", "2")]
    assert {each["host"] for each in asked["within_pods"]["policies"]["asked"].values()} == {"10.200.1.3"}
    assert lacking == {}
    asked, lacking = places.asking(everybody(plan), worker, {}, made)
    assert (asked["within_pods"], list(lacking)) == ({}, ["from_pod"])
    broken = Facts({"scratch_pods": {"dns": {"error": "no DNS"}, "pods": {"error": "no API"}}}, "cp1")
    _, lacking = places.asking(everybody(plan), first, {}, broken)
    assert "no API" in lacking["from_pod"]["error"]
    assert "no DNS" in lacking["policies"]["error"]


def test_a_passive_run_takes_any_pod(plan: ClusterPlan) -> None:
    asked, lacking = places.asking(everybody(plan), plan.nodes[0], {}, None)
    assert (asked["within_pods"], lacking) == ({"from_pod": {"uid": None, "asked": {}}}, {})


class _Server(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        status = {"/refused": 403, "/busy": 429, "/down": 500}.get(self.path.partition("?")[0], 200)
        asked = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        said = {"message": "go away", "reason": "Forbidden"} if status != 200 else {"path": self.path, "asked": asked}
        self.send_response(status)
        body = b"no document" if self.path == "/strange" else json.dumps(said).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # names of http.server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401  # http.server's own
        pass


@contextmanager
def _served(server: Pair, client: Pair) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.file)
    context.load_verify_locations(client.file)
    context.verify_mode = ssl.CERT_REQUIRED
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as serving:
        serving.socket = context.wrap_socket(serving.socket, server_side=True)
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving.server_port
        serving.shutdown()
        thread.join()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    server, client = Pair(tmp_path, "127.0.0.1"), Pair(tmp_path, "client")
    whole = client.file.read_bytes()
    parts = {
        "certificate-authority": server.pem,
        "client-certificate": client.pem,
        "client-key": whole[len(client.pem) :],
    }
    lines = [f"    {name}-data: {base64.b64encode(content).decode()}" for name, content in parts.items()]
    (tmp_path / "admin.conf").write_text("\n".join(lines) + "\n", encoding="ascii")
    with _served(server, client) as port:
        yield Api("127.0.0.1", port, str(tmp_path / "admin.conf"))


def test_the_api_is_asked_with_the_kubeconfigs_credential(api: Api) -> None:
    assert api.get("/one")["path"] == "/one"
    api.create("/two", {"a": 1})
    api.delete("/three")
    tried = api.tried("/four", {"a": 1})
    assert (tried["admitted"], tried["object"]) == (True, {"path": "/four?dryRun=All", "asked": '{"a": 1}'})


def test_a_refusal_is_an_answer_and_a_failure_is_none(api: Api) -> None:
    assert api.tried("/refused", {}) == {"admitted": False, "reason": "Forbidden", "message": "go away", "object": {}}
    for path in ("/busy", "/down"):
        with pytest.raises(RuntimeError, match="go away"):
            api.tried(path, {})
    for call in (api.get, api.delete):
        with pytest.raises(RuntimeError, match="go away"):
            call("/refused")
    with pytest.raises(RuntimeError, match="GET /strange: JSONDecodeError"):
        api.get("/strange")


def test_an_api_server_that_is_not_ready_says_why(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.await_ready()
    monkeypatch.setattr("kharden.observe.collector.api._READY_SECONDS", 0.0)
    with pytest.raises(RuntimeError, match=r"^its API server is not ready: GET /readyz: "):
        Api("127.0.0.1", 1, api.kubeconfig).await_ready()


def test_another_api_server_is_not_asked(api: Api, tmp_path: Path) -> None:
    stranger = Pair(tmp_path, "stranger")
    with _served(stranger, stranger) as port, pytest.raises(RuntimeError, match="CERTIFICATE_VERIFY_FAILED"):
        Api("127.0.0.1", port, api.kubeconfig).get("/")


def test_a_kubeconfig_without_credential_is_named(tmp_path: Path) -> None:
    (tmp_path / "admin.conf").write_text("clusters: []\n", encoding="ascii")
    with pytest.raises(RuntimeError, match="no certificate-authority-data"):
        Api("127.0.0.1", 1, str(tmp_path / "admin.conf")).get("/")
