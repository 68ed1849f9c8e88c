"""Control planes that go away: how, and what is asked of the cluster meanwhile."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kharden.lab.machine import find_machine
from kharden.lab.places import node_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.sites import Program

KUBECTL = "KUBECONFIG=/etc/kubernetes/admin.conf kubectl"
_KUBELET = "/etc/kubernetes/kubelet.conf"
_ETCD = "/etc/kubernetes/pki/etcd"
_ETCDCTL = (
    f"etcdctl --endpoints=https://127.0.0.1:2379 --cacert={_ETCD}/ca.crt --cert={_ETCD}/healthcheck-client.crt "
    f"--key={_ETCD}/healthcheck-client.key"
)
_NODES = ("cp1", "cp2", "cp3", "w1", "w2")
# Whether the node's service proxy answers (its health port) and has its rules.
_PROXY = "(nft list table ip kube-proxy && : < /dev/tcp/127.0.0.1/10256) > /dev/null 2>&1 && echo up || true"
# Asks again and again, each time over a connection of its own: by way of the balancer it reads and writes with the
# kubelet's credential, and in the end it says how long the longest time between two answers was; and each API server
# whether it is ready, and in the end it says when each one wasn't.
_PROBE = """
import http.client, json, pathlib, ssl, sys, threading, time
context = ssl.create_default_context(cafile="/etc/haproxy/kubernetes-ca.crt")
context.load_cert_chain("/var/lib/kubelet/pki/kubelet-client-current.pem")
end = pathlib.Path("/run/probe-ends")

def ask(host, port, method, path, body=None, seconds=5):
    connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
    try:
        connection.request(method, path, body, {"Content-Type": "application/merge-patch+json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

def watch(host, away):
    since = None
    while not end.exists():
        ready = ask(host, 6443, "GET", "/readyz", seconds=60)
        if ready and since is not None:
            away.append((since, time.monotonic()))
            since = None
        elif not ready and since is None:
            since = time.monotonic()
        time.sleep(0.2)
    if since is not None:
        away.append((since, time.monotonic()))

away = {host: [] for host in sys.argv[1:]}
threads = [threading.Thread(target=watch, args=item) for item in away.items()]
for thread in threads:
    thread.start()
last = {"GET": time.monotonic(), "PATCH": time.monotonic()}
longest, count = {"GET": 0.0, "PATCH": 0.0}, 0
while not end.exists():
    for method in last:
        count += 1
        change = {"metadata": {"annotations": {"example.com/probe": str(count)}}}
        body = json.dumps(change) if method == "PATCH" else None
        if ask("127.0.0.1", 7443, method, "/api/v1/nodes/w1", body):
            longest[method] = max(longest[method], time.monotonic() - last[method])
            last[method] = time.monotonic()
    time.sleep(0.1)
now = time.monotonic()
gaps = {method: max(longest[method], now - last[method]) for method in last}
for thread in threads:
    thread.join()
print(json.dumps({"gaps": gaps, "away": away}))
"""


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"{what}: not within {seconds} s"
        time.sleep(0.5)  # the pace of looking; the condition ends the wait


def members(cluster: Program, through: str) -> dict[str, bool]:
    """The members of etcd and whether each votes."""
    listed = json.loads(cluster.node(through, f"{_ETCDCTL} member list --write-out=json"))["members"]
    return {one.get("name", ""): not one.get("isLearner", False) for one in listed}


def is_whole(cluster: Program, through: str) -> bool:
    """Whether all three members of etcd are well, all API servers are ready and all five nodes too.

    A node that comes back is ready before its pods run again: its service proxy has to answer and to have its rules.
    """
    asked = f"{_ETCDCTL} endpoint health --cluster 2>&1 | grep -c 'is healthy' || true"
    ready = f"{KUBECTL} get nodes --no-headers | grep -c ' Ready ' || true"
    subnet = "$(hostname --ip-address | cut -d. -f1-3)"
    readyz = f"""for number in 11 12 13; do
        {KUBECTL} --server=https://{subnet}.$number:6443 --request-timeout=5s get --raw=/readyz || true
    done"""
    script = f"({asked}; {ready}; {readyz}) 2>&1"
    if cluster.node(through, script) != "3\n5\n" + "ok" * 3:
        return False
    return all(cluster.node(name, f"bash -c {shlex.quote(_PROXY)}") == "up\n" for name in _NODES)


@dataclass
class Probe:
    """It asks from w1 until it is ended.

    Attributes:
        gaps: method → the longest time in seconds between two answers by way of the balancer.
        away: address of an API server → from when to when it wasn't ready, in seconds of w1's clock.
    """

    cluster: Program
    process: subprocess.Popen[str]
    gaps: dict[str, float]
    away: dict[str, list[tuple[float, float]]]

    def count(self) -> int:
        """How often it had asked when it last wrote."""
        path = "{.metadata.annotations.example\\.com/probe}"
        return int(
            self.cluster.node("w1", f"kubectl --kubeconfig={_KUBELET} get node w1 --output=jsonpath='{path}'") or 0
        )

    def go_on(self) -> None:
        """Until it has asked a hundred times more."""
        asked = self.count()
        wait_for(lambda: self.count() > asked + 100, "it asks on and on")

    def end(self) -> None:
        """It ends, and tells."""
        if self.process.poll() is None:
            self.cluster.node("w1", "touch /run/probe-ends")
        found = json.loads(self.process.communicate(timeout=300)[0])
        self.gaps, self.away = found["gaps"], found["away"]


@contextmanager
def probing(cluster: Program, *servers: str) -> Iterator[Probe]:
    """Asked all the while; `servers` are addresses of API servers to watch."""
    cluster.node("w1", "rm -f /run/probe-ends; cat > /run/probe.py", _PROBE)
    command = f"python3 /run/probe.py {' '.join(servers)}"
    process = cluster.started("lab.shell", "w1", "--command", command, stdout=subprocess.PIPE)
    probe = Probe(cluster, process, {}, {})
    try:
        wait_for(lambda: probe.count() > 0, "it asks")
        yield probe
    finally:
        if not probe.gaps:
            probe.end()


def power_off(cluster: str, name: str) -> None:
    """As if its plug was pulled: nothing is told to end."""
    machine = find_machine(cluster, name)
    assert machine is not None
    assert machine.leader is not None
    assert machine.pid != machine.supervisor
    os.kill(machine.pid, signal.SIGKILL)  # first, so that it isn't started again
    os.kill(machine.leader, signal.SIGKILL)
    wait_for(lambda: find_machine(cluster, name) is None, f"{name} is off")


def wipe(cluster: str, name: str) -> None:
    """Another machine in its place: nothing of it is left but its ssh host key."""
    power_off(cluster, name)
    for path in node_folder(cluster, name).iterdir():
        if path.name != "ssh":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
