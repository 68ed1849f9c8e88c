"""A cluster that was left half made, and in which others are in the way."""

from __future__ import annotations

import base64
import json
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.e2e.pods import pod
from tests.faults.waiting import await_line
from tests.unit.render.obstacles import webhook_without_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.conftest import Node, Run, Start

pytestmark = [pytest.mark.lab, pytest.mark.programs]

KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"
TOKENS = f"{KUBECTL} -n kube-system get secrets --field-selector=type=bootstrap.kubernetes.io/token --output=name"
STATIC = """
for name in etcd kube-apiserver kube-controller-manager kube-scheduler; do pgrep --full "^$name "; done
"""
# Each token with the time that it was made, that of its end, and what it is for; the token itself stays where it is.
WATCH_TOKENS = f"""
systemd-run --quiet --collect --unit=tokens sh -c '{KUBECTL} --namespace=kube-system get secrets --watch --no-headers \\
    --field-selector=type=bootstrap.kubernetes.io/token \\
    --output=custom-columns=MADE:.metadata.creationTimestamp,END:.data.expiration,WHY:.data.description > /run/tokens'
"""
OF_W1 = base64.b64encode(b"kharden joins w1").decode()  # init again makes a token of its own
# As most webhooks are: kube-system is left out.
LEFT_OUT = [
    {
        "op": "add",
        "path": "/webhooks/0/namespaceSelector",
        "value": {
            "matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]},
            ]
        },
    }
]
# A worker as if its machine were set up anew, as far as the cluster and kubeadm can tell: no service proxy runs, and
# there are neither keys of its kubelet nor its Node.
ANEW = """
systemctl stop kubelet
pkill --signal KILL --exact kube-proxy || true
while pgrep --exact kube-proxy > /dev/null; do sleep 0.1; done
rm -r /etc/kubernetes/kubelet.conf /var/lib/kharden/joined /var/lib/kubelet/pki/*
"""
GONE = f"""
{KUBECTL} delete node w1
{KUBECTL} --namespace=kube-system delete pods --field-selector=spec.nodeName=w1 --force --grace-period=0 2> /dev/null
"""
PROXY = (
    f"{KUBECTL} --namespace=kube-system get pods --selector=k8s-app=kube-proxy --field-selector=spec.nodeName=w1"
    " --output=jsonpath='{.items[*].metadata.uid}'"
)
REFUSED = (
    "kharden: w1: Pods of the service proxy may be made: DaemonSet/kube-proxy: its pods can't be made: "
    'Internal error occurred: failed calling webhook "gone.example.org": '
)
# What a join leaves that was cut off before its end: the cluster's CA, the kubelet's settings, and a file with a token
# that is long expired.
HALF_JOINED = """
systemctl stop kubelet
rm /etc/kubernetes/kubelet.conf /var/lib/kharden/joined
mkdir -p -m 0700 /run/kharden
for path in /run/kharden/discovery.conf /etc/kubernetes/bootstrap-kubelet.conf; do
    install -m 0600 /dev/stdin $path <<'END'
apiVersion: v1
kind: Config
clusters:
  - name: discovery
    cluster: {server: "https://127.0.0.1:7443", certificate-authority: /etc/haproxy/kubernetes-ca.crt}
users:
  - {name: join, user: {token: aaaaaa.aaaaaaaaaaaaaaaa}}
contexts:
  - {name: join, context: {cluster: discovery, user: join}}
current-context: join
END
done
"""


@pytest.fixture
def tokens(node: Node) -> Iterator[Callable[[], list[float]]]:
    """For how many minutes each token may live that is made meanwhile for w1's join."""
    node("cp1", WATCH_TOKENS)

    def seen() -> list[float]:
        shown = node("cp1", "systemctl is-active --quiet tokens && cat /run/tokens").splitlines()
        lines = {tuple(line.split()) for line in shown if OF_W1 in line}
        return [(moment(base64.b64decode(end).decode()) - moment(made)) / 60 for made, end, _ in lines]

    yield seen
    node("cp1", "systemctl stop tokens && rm /run/tokens")


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.fixture
def webhook(node: Node) -> Iterator[None]:
    node("cp1", f"{KUBECTL} create --filename=- <<'END'\n{json.dumps(webhook_without_backend(2))}\nEND")
    yield
    node("cp1", f"{KUBECTL} delete validatingwebhookconfiguration gone")


@pytest.mark.usefixtures("webhook")
def test_a_half_joined_worker_is_finished_and_init_again_does_nothing_also_without_a_webhooks_backend(
    kharden: Run, node: Node, tokens: Callable[[], list[float]]
) -> None:
    node("cp1", "rm /var/lib/kharden/initialised")
    node("w1", HALF_JOINED)
    # Until its old kubelet is given up kubeadm takes the node for another machine of that name.
    ready = f"{KUBECTL} wait --for=condition=Ready=Unknown node/w1 --timeout=300s"
    node("cp1", ready)
    before = node("cp1", STATIC)
    assert len(before.split()) == 4
    planned = kharden("plan", status=2).stdout
    assert "w1: Join the cluster with this node" in planned
    done = kharden("apply", "--yes").stdout
    assert "w1: Join the cluster: changed" in done
    assert node("cp1", STATIC) == before
    assert node("cp1", TOKENS) == ""
    (minutes,) = tokens()
    assert 14.9 < minutes < 15.1  # their times are whole seconds
    assert node("w1", "ls -A /run/kharden; ls /etc/kubernetes/bootstrap-kubelet.conf 2> /dev/null || true") == ""
    assert "nothing to change" in kharden("apply", "--yes").stdout
    refused = node(
        "cp1", f"{KUBECTL} -n kube-system run one --image=registry.k8s.io/pause:3.10.2 --dry-run=server 2>&1 || true"
    )
    assert 'failed calling webhook "gone.example.org"' in refused  # it was in the way of pods all the time


@pytest.mark.usefixtures("webhook")
def test_a_new_worker_joins_without_a_webhooks_backend_and_who_keeps_its_pods_away_is_named(
    kharden: Run, start: Start, node: Node, tmp_path: Path
) -> None:
    before = node("cp1", PROXY)
    node("w1", ANEW)
    node("cp1", GONE)
    log = tmp_path / "log"
    with log.open("w") as output:
        process = start("apply", "--yes", output=output)
        await_line(log, "What kubeadm made", process)
        began = time.monotonic()
        assert process.wait(600) == 1
        assert time.monotonic() - began < 120  # for a pod that may come it waits longer
    said = log.read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in said if line.startswith("kharden: "))
    assert line == said[-1]  # nothing else is told
    assert line.startswith(REFUSED), line
    assert ": mend or remove what refuses them" in line
    node("cp1", f"{KUBECTL} wait --for=condition=Ready node/w1 --timeout=120s")  # it joined
    assert (node("cp1", PROXY), node("cp1", TOKENS)) == ("", "")
    node("cp1", f"{KUBECTL} patch validatingwebhookconfiguration gone --type=json --patch='{json.dumps(LEFT_OUT)}'")
    node("w1", ANEW)
    node("cp1", GONE)
    kharden("apply", "--yes")
    assert node("cp1", PROXY) not in {"", before}
    assert "nothing to change" in kharden("apply", "--yes").stdout
    elsewhere = json.dumps(pod("one", "w1", "registry.k8s.io/pause:3.10.2"))
    trial = f"{KUBECTL} create --dry-run=server --filename=- 2>&1 <<'END' || true\n{elsewhere}\nEND"
    assert 'failed calling webhook "gone.example.org"' in node("cp1", trial)  # it was there all the time
