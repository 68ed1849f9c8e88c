"""A cluster that was left half made, and in which others are in the way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.unit.render.obstacles import webhook_without_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.conftest import Node, Run

pytestmark = [pytest.mark.lab, pytest.mark.programs]

KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"
TOKENS = f"{KUBECTL} -n kube-system get secrets --field-selector=type=bootstrap.kubernetes.io/token --output=name"
STATIC = """
for name in etcd kube-apiserver kube-controller-manager kube-scheduler; do pgrep --full "^$name "; done
"""
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
def webhook(node: Node) -> Iterator[None]:
    node("cp1", f"{KUBECTL} create --filename=- <<'END'\n{json.dumps(webhook_without_backend(2))}\nEND")
    yield
    node("cp1", f"{KUBECTL} delete validatingwebhookconfiguration gone")


@pytest.mark.usefixtures("webhook")
def test_a_half_joined_worker_is_finished_and_init_again_does_nothing_also_without_a_webhooks_backend(
    kharden: Run, node: Node
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
    assert node("w1", "ls -A /run/kharden; ls /etc/kubernetes/bootstrap-kubelet.conf 2> /dev/null || true") == ""
    assert "nothing to change" in kharden("apply", "--yes").stdout
    refused = node(
        "cp1", f"{KUBECTL} -n kube-system run one --image=registry.k8s.io/pause:3.10.2 --dry-run=server 2>&1 || true"
    )
    assert 'failed calling webhook "gone.example.org"' in refused  # it was in the way of pods all the time
