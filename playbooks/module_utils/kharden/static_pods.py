# SPDX-License-Identifier: Apache-2.0
"""Static pods: which process is theirs, when a new one runs, and whether it answers.

The kubelet restarts a static pod's process by itself. That it did is seen in the process table, and that the new one
works by the probe that kubeadm wrote into the manifest: a process with a wrong flag starts too, and ends.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import NodeError
from .processes import Process, process, processes

if TYPE_CHECKING:
    from collections.abc import Iterable

MANIFESTS = "/etc/kubernetes/manifests"
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")  # what others depend on first
_PAUSE = 0.25  # seconds between two looks
_STEADY = 5.0  # seconds that a process without a probe must live to count as started
_HTTP_OK = range(200, 400)  # what a kubelet takes for success


@dataclass(frozen=True, slots=True)
class Probe:
    """Where a static pod says that it is well."""

    scheme: str
    host: str
    port: int
    path: str


# Where templates/etc/kharden/kubeadm has it. /healthz also tells that a node is about to go, which is no fault.
SERVICE_PROXY = Probe("http", "127.0.0.1", 10256, "/livez")


def running(name: str) -> frozenset[Process]:
    """The processes called `name` in a pod that uses the node's network, as the control plane does.

    A control plane that somebody runs for tests in an ordinary pod has a network of its own, and is left alone.
    """
    return frozenset(one for one in processes() if name in one.names and one.in_pod and one.on_node_network)


def probe_of(manifest: str) -> Probe | None:
    """The startup probe, else the liveness probe, of a manifest in the form that kubeadm writes; None without one."""
    for kind in ("startupProbe", "livenessProbe"):
        block = re.search(rf"^( +){kind}:\n((?:\1 +.*\n)+)", manifest, re.MULTILINE)
        values = dict(re.findall(r"^ +(host|path|port|scheme): *(\S+)$", block[2], re.MULTILINE)) if block else {}
        port = values.get("port", "").strip("'\"")
        if named := re.search(rf"containerPort: (\d+)\n +name: {re.escape(port)}$", manifest, re.MULTILINE):
            port = named[1]
        if port.isdecimal() and "path" in values:
            host = values.get("host", "127.0.0.1").strip("'\"")
            return Probe(values.get("scheme", "HTTP").lower(), host, int(port), values["path"].strip("'\""))
    return None


def answers(probe: Probe, timeout: float = 3) -> bool:
    """True if `probe` succeeds now. As with a kubelet's probes the certificate isn't verified: nothing is sent."""
    connection: http.client.HTTPConnection
    if probe.scheme == "https":
        context = ssl._create_unverified_context()  # noqa: S323, SLF001 - as said above; some have self-signed ones
        connection = http.client.HTTPSConnection(probe.host, probe.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(probe.host, probe.port, timeout=timeout)
    try:
        connection.request("GET", probe.path)
        return connection.getresponse().status in _HTTP_OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def is_well(name: str, probe: Probe) -> bool:
    """True if a process called `name` runs now, and `probe` is answered."""
    return bool(running(name)) and answers(probe)


def await_service_proxy(timeout: float) -> None:
    """Wait until the node's kube-proxy answers. The API still has it as running when its node was cut off from power.

    Raises:
        NodeError: it doesn't after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not answers(SERVICE_PROXY):
        if time.monotonic() >= deadline:
            raise NodeError(
                f"kube-proxy: {timeout:.0f} s on, it doesn't answer on port {SERVICE_PROXY.port}: look at "
                "kubectl --namespace=kube-system describe daemonset/kube-proxy and its pods' logs"
            )
        time.sleep(_PAUSE)


def terminate(ones: Iterable[Process]) -> None:
    """Ask each of `ones` to end, unless its number has been taken by another meanwhile."""
    for one in ones:
        now = process(one.pid)
        if now and now.start == one.start:
            os.kill(one.pid, signal.SIGTERM)


def await_new(
    name: str, before: frozenset[Process], probe: Probe | None, timeout: float
) -> tuple[frozenset[Process], float]:
    """Wait until the processes `before` have gone and a new one called `name` runs and answers.

    Returns:
        The new ones, and for how many seconds nobody answered.

    Raises:
        NodeError: that isn't so after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    since, last = time.monotonic(), before
    silent: float | None = None
    while True:
        now = running(name)
        if now != last:
            since, last = time.monotonic(), now
        new = bool(now) and now.isdisjoint(before)
        answered = bool(now) and (probe is None or answers(probe))
        if silent is None and not (answered and now & before):
            silent = time.monotonic()
        if new and answered and (probe or time.monotonic() - since >= _STEADY):
            return now, round(time.monotonic() - (silent or since), 1)
        if time.monotonic() >= deadline:
            absent = "is the old one" if now & before else "isn't there"
            state = "runs but doesn't answer its probe" if new and probe else "doesn't stay up" if new else absent
            raise NodeError(
                f"static pod {name}: {timeout:.0f} s on, its process {state}: "
                f"look at journalctl -u kubelet and crictl logs"
            )
        time.sleep(_PAUSE)
