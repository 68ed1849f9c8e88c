"""A cluster whose network of pods a pinned file brings: `invoke test --all`, not part of CI."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kharden.artifacts import lock
from tests.e2e import pods
from tests.e2e.sites import Program, described, program
from tests.e2e.states import differences, state, steady_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., str]

pytestmark = [pytest.mark.lab, pytest.mark.programs]

VERSION = "1.36.3"
CLUSTER = "e2e-network"
SITE = """  network:
    plugin: manifest
    manifest: {{path: network.yaml, sha256: {sha256}}}
"""
WAIVERS = """
  waivers:
    - {control: network-policies-enforced, owner: tests, reason: this network enforces nothing, expires: 2099-12-31}
"""
KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"


def manifest() -> str:
    (pause,) = (one.reference for one in lock.load().kubernetes(VERSION).images if "/pause:" in one.reference)
    return (Path(__file__).parent / "network.yaml").read_text(encoding="utf-8").replace("PAUSE", pause)


@pytest.fixture(scope="module")
def kharden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program of this checkout; its nodes are gone afterwards."""
    network = SITE.format(sha256=hashlib.sha256(manifest().encode()).hexdigest())
    text = described(CLUSTER, "10.88.0").replace("  network:\n", network)
    with program(tmp_path_factory.mktemp("site"), CLUSTER, cluster=text, network=manifest()) as run:
        run("render", "apply", "--yes")
        yield run


@pytest.fixture(scope="module")
def node(kharden: Program) -> Run:
    return kharden.node


def kubernetes(node: Run, command: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(node("cp1", f"{KUBECTL} {command} --output=json"))
    return answer


def test_nodes_are_ready_and_have_ranges_that_were_handed_out(node: Run) -> None:
    nodes = kubernetes(node, "get nodes")["items"]
    conditions = [{one["type"]: one["status"] for one in item["status"]["conditions"]} for item in nodes]
    assert [one["Ready"] for one in conditions] == ["True", "True"]
    assert {item["spec"]["podCIDR"] for item in nodes} == {"10.200.0.0/24", "10.200.1.0/24"}
    assert node("w1", "ls -A /etc/cni/net.d").split() == ["20-test.conflist"]


def test_a_second_apply_changes_nothing(kharden: Program) -> None:
    before = steady_state(kharden.node, ("cp1", "w1"))
    assert "nothing to change" in kharden("apply", "--yes")
    assert differences(before, state(kharden.node, ("cp1", "w1"))) == []
    assert "nothing to change" in kharden("plan")


@pytest.fixture
def pair(node: Run) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """A pod of w1 that answers, and one of cp1."""
    image = pods.pause_image(kubernetes(node, "get nodes"))
    wanted = (pods.service("web"), pods.pod("web", "w1", image), pods.pod("client", "cp1", image))
    node("cp1", f"{KUBECTL} apply --filename=-", text=pods.several(*wanted))
    node("cp1", f"{KUBECTL} wait --for=condition=Ready pod/web pod/client --timeout=120s")
    web, client = (kubernetes(node, f"get pod {name}") for name in ("web", "client"))
    node("w1", "mkdir -p /run/web && echo -n hello-from-w1 > /run/web/index.html")
    node("w1", f"systemd-run --quiet --unit=web {pods.enter(web)} python3 -m http.server --directory /run/web 8080")
    yield web, client
    node("w1", "systemctl stop web")
    node("cp1", f"{KUBECTL} delete pod/web pod/client service/web --wait")


FETCH = """
import sys, urllib.request
print(urllib.request.urlopen(f"http://{sys.argv[1]}/", timeout=5).read().decode())
"""


def test_a_pod_reaches_one_of_the_other_node_and_its_service(
    node: Run, pair: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    web, client = pair
    service = kubernetes(node, "get service web")["spec"]["clusterIP"]
    addresses = (f"{web['status']['podIP']}:8080", service)
    for address in addresses:
        command = f"for i in $(seq 30); do {pods.enter(client)} python3 /run/fetch {address} && break; sleep 1; done"
        assert node("cp1", f"cat > /run/fetch; {command} 2> /dev/null", text=FETCH) == "hello-from-w1\n"
    assert {one["status"]["podIP"].rsplit(".", 1)[0] for one in pair} == {"10.200.0", "10.200.1"}


def verdicts(site: Path) -> dict[str, str]:
    newest = max((site / "evidence" / CLUSTER).iterdir())
    document = json.loads((newest / "report.json").read_text(encoding="utf-8"))
    return {control["id"]: control["verdict"] for control in document["controls"]}


def test_what_this_network_does_not_do_fails_and_can_be_waived(kharden: Program) -> None:
    """Of the routed network kharden knows it; of another's it says what it saw."""
    kharden("verify", status=2)
    found = verdicts(kharden.site)
    assert [name for name, verdict in found.items() if verdict in {"fail", "unknown"}] == ["network-policies-enforced"]
    # What is about kharden's own network isn't judged, and its files' modes are.
    assert (found["pod-routes-running"], found["cni-configuration-mode"]) == ("not-applicable", "pass")
    path = kharden.site / "inventories" / CLUSTER / "cluster.yaml"
    path.write_text(path.read_text(encoding="utf-8").rstrip("\n") + WAIVERS, encoding="utf-8")
    kharden("render")
    kharden("verify")
    assert verdicts(kharden.site) == found | {"network-policies-enforced": "waived"}
