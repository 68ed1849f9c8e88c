"""Three control planes and two workers: `invoke test --all`. They come up, stay as they are, and miss one of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kharden.lab.machine import find_machine
from kharden.lab.places import node_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., str]

pytestmark = [pytest.mark.lab, pytest.mark.programs]

CHECKOUT = Path(__file__).parents[2]
CLUSTER = "e2e-ha"
KUBECTL = "KUBECONFIG=/etc/kubernetes/admin.conf kubectl"
ETCD = "/etc/kubernetes/pki/etcd"
ETCDCTL = (
    f"etcdctl --endpoints=https://127.0.0.1:2379 --cacert={ETCD}/ca.crt --cert={ETCD}/healthcheck-client.crt "
    f"--key={ETCD}/healthcheck-client.key"
)
# How long the API may be away where one of three is lost: until a balancer has seen it, and a leader was elected.
LONGEST_GAP = 30.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("site")
    text = (CHECKOUT / "inventories/lab/cluster.yaml").read_text(encoding="utf-8")
    folder = root / "inventories" / CLUSTER
    folder.mkdir(parents=True)
    text = text.replace("name: lab\n", f"name: {CLUSTER}\n").replace("10.77.0.", "10.83.0.")
    (folder / "cluster.yaml").write_text(text, encoding="utf-8")
    (root / "identity").mkdir(mode=0o700)
    return root


def started(site: Path, *arguments: str, **streams: Any) -> subprocess.Popen[str]:  # noqa: ANN401  # as Popen takes them
    environment = os.environ | {"KHARDEN_CLUSTER": CLUSTER, "KHARDEN_IDENTITY": f"{site}/identity/"}
    program = Path(sys.executable).with_name("kharden")
    return subprocess.Popen(
        [program, *arguments], cwd=site, env=environment, text=True, start_new_session=True, **streams
    )


@pytest.fixture(scope="module")
def kharden(site: Path) -> Run:
    def run(*arguments: str, status: int = 0, text: str = "") -> str:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = started(site, *arguments, **pipes)
        said, errors = process.communicate(text, timeout=3600)
        assert process.returncode == status, f"{arguments}: {process.returncode}\n{said}\n{errors}"
        assert "Traceback" not in errors
        return said

    return run


@pytest.fixture(scope="module")
def bootstrapped(kharden: Run) -> Iterator[float]:
    """Seconds from nodes that have booted to a cluster of five."""
    kharden("lab.down")
    try:
        kharden("lab.up", "--yes")
        begun = time.monotonic()
        kharden("render", "apply", "--yes")
        yield time.monotonic() - begun
    finally:
        kharden("lab.down")


@pytest.fixture
def node(kharden: Run, bootstrapped: float) -> Run:
    assert bootstrapped
    return lambda name, command, text="": kharden("lab.shell", name, "--command", command, text=text)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"{what}: not within {seconds} s"
        time.sleep(0.5)  # the pace of looking; the condition ends the wait


def members(node: Run, through: str) -> dict[str, bool]:
    """The members of etcd and whether each votes."""
    listed = json.loads(node(through, f"{ETCDCTL} member list --write-out=json"))["members"]
    return {one.get("name", ""): not one.get("isLearner", False) for one in listed}


def is_whole(node: Run, through: str) -> bool:
    """Whether all members of etcd are well, all API servers are ready and all nodes too."""
    asked = f"{ETCDCTL} endpoint health --cluster 2>&1 | grep -c 'is healthy' || true"
    ready = f"{KUBECTL} get nodes --no-headers | grep -c ' Ready ' || true"
    readyz = "; ".join(
        f"{KUBECTL} --server=https://10.83.0.{number}:6443 --request-timeout=5s get --raw=/readyz || true"
        for number in (11, 12, 13)
    )
    return (node(through, asked), node(through, ready), node(through, f"({readyz}) 2>&1")) == ("3\n", "5\n", "ok" * 3)


def test_five_nodes_come_up(node: Run, bootstrapped: float, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n3 + 2 came up in {bootstrapped:.0f} s\n")
    assert is_whole(node, "cp3")
    assert members(node, "cp2") == {"cp1": True, "cp2": True, "cp3": True}
    listed = json.loads(node("cp1", f"{KUBECTL} get nodes --output=json"))["items"]
    zones = {one["metadata"]["name"]: one["metadata"]["labels"]["topology.kubernetes.io/zone"] for one in listed}
    assert zones == {"cp1": "a", "cp2": "b", "cp3": "c", "w1": "a", "w2": "b"}
    pods = json.loads(node("cp1", f"{KUBECTL} -n kube-system get pods --selector=k8s-app=kube-dns --output=json"))
    assert len({pod["spec"]["nodeName"] for pod in pods["items"]}) == 2


@pytest.mark.parametrize("name", ["cp1", "cp2", "cp3"])
def test_a_control_plane_talks_to_itself_and_keeps_nothing_of_its_join(node: Run, name: str) -> None:
    server = f"server: https://10.83.0.1{name[-1]}:6443"
    assert server in node(name, "cat /etc/kubernetes/kubelet.conf")
    left = (
        "ls /etc/kubernetes/super-admin.conf /etc/kubernetes/bootstrap-kubelet.conf /run/kharden/* 2> /dev/null || true"
    )
    assert node(name, left) == ""
    tokens = f"{KUBECTL} -n kube-system get secrets --field-selector=type=bootstrap.kubernetes.io/token --output=name"
    assert node(name, tokens) == ""
    assert node(name, "find /etc/kubernetes/manifests -type f -not -perm 0600") == ""


def test_a_second_apply_changes_nothing_and_verify_passes(kharden: Run, bootstrapped: float) -> None:
    assert bootstrapped
    assert "nothing to change" in kharden("apply", "--yes")
    assert "nothing to change" in kharden("plan")
    kharden("verify")


# Reads and writes again and again by way of the balancer, each over a connection of its own, with the kubelet's
# credential; in the end it says for each how long the longest time between two answers was.
PROBE = """
import http.client, json, pathlib, ssl, time
context = ssl.create_default_context(cafile="/etc/haproxy/kubernetes-ca.crt")
context.load_cert_chain("/var/lib/kubelet/pki/kubelet-client-current.pem")
headers = {"Content-Type": "application/merge-patch+json"}
last = {"GET": time.monotonic(), "PATCH": time.monotonic()}
longest, count = {"GET": 0.0, "PATCH": 0.0}, 0
while not pathlib.Path("/run/probe-ends").exists():
    for method in last:
        count += 1
        change = {"metadata": {"annotations": {"example.com/probe": str(count)}}}
        body = json.dumps(change) if method == "PATCH" else None
        connection = http.client.HTTPSConnection("127.0.0.1", 7443, timeout=5, context=context)
        try:
            connection.request(method, "/api/v1/nodes/w1", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                longest[method] = max(longest[method], time.monotonic() - last[method])
                last[method] = time.monotonic()
        except OSError:
            pass
        except http.client.HTTPException:
            pass
        finally:
            connection.close()
    time.sleep(0.1)
end = time.monotonic()
print(json.dumps({method: max(longest[method], end - last[method]) for method in last}))
"""


@pytest.fixture
def probe(site: Path, node: Run) -> Iterator[Callable[[], dict[str, float]]]:
    """Begins to ask; called, it ends and tells the longest gaps."""
    node("w1", "rm -f /run/probe-ends; cat > /run/probe.py", PROBE)
    asking = started(site, "lab.shell", "w1", "--command", "python3 /run/probe.py", stdout=subprocess.PIPE)

    def end() -> dict[str, float]:
        node("w1", "touch /run/probe-ends")
        found: dict[str, float] = json.loads(asking.communicate(timeout=120)[0])
        return found

    wait_for(lambda: count(node) > 0, "it asks")
    try:
        yield end
    finally:
        if asking.poll() is None:
            end()


KUBELET = "/etc/kubernetes/kubelet.conf"
MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"


BALANCER = "journalctl --identifier=haproxy --output=cat 2> /dev/null || true"


def count(node: Run) -> int:
    """How often the probe has written."""
    asked = (
        f"kubectl --kubeconfig={KUBELET} get node w1 --output=jsonpath='{{.metadata.annotations.example\\.com/probe}}'"
    )
    return int(node("w1", asked) or 0)


def power_off(name: str) -> None:
    """As if its plug was pulled: nothing is told to end."""
    machine = find_machine(CLUSTER, name)
    assert machine is not None
    assert machine.leader is not None
    launchers = f"nodes/{name}/root"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_text(errors="replace").split("\0") if path.exists() else []
        if any(word.endswith("kharden/lab/launch.py") for word in words) and launchers in " ".join(words):
            os.kill(int(path.parent.name), signal.SIGKILL)
    os.kill(machine.leader, signal.SIGKILL)
    wait_for(lambda: find_machine(CLUSTER, name) is None, f"{name} is off")


def stop_etcd(node: Run) -> None:
    node("cp1", f"mv {MANIFEST} /root/etcd.yaml; while pgrep -x etcd > /dev/null; do sleep 0.2; done")


@pytest.mark.parametrize("kind", ["its node", "its etcd"])
def test_the_api_goes_on_without_one_control_plane(
    kharden: Run, node: Run, probe: Callable[[], dict[str, float]], capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    wait_for(lambda: is_whole(node, "cp3"), "all is well before")
    node("w1", "journalctl --rotate && journalctl --vacuum-time=1s")
    if kind == "its node":
        power_off("cp1")
    else:
        stop_etcd(node)
    wait_for(lambda: "control-planes/cp1 is DOWN" in node("w1", BALANCER), "the balancer has seen it")
    asked = count(node)
    wait_for(lambda: count(node) > asked + 100, "it is asked on and on")
    gaps = probe()
    with capsys.disabled():
        sys.stdout.write(f"\nwithout {kind}: reads away for {gaps['GET']:.1f} s, writes {gaps['PATCH']:.1f} s\n")
    if kind == "its node":
        assert "cp1: can't be reached" in refused(kharden)
        kharden("lab.up", "--yes")
    else:
        node("cp1", f"mv /root/etcd.yaml {MANIFEST}")
    assert max(gaps.values()) < LONGEST_GAP
    wait_for(lambda: is_whole(node, "cp3"), "all is well again")
    assert "nothing to change" in kharden("apply", "--yes")
    kharden("verify")


def refused(kharden: Run) -> str:
    """What apply says where a node is away."""
    with pytest.raises(AssertionError) as raised:
        kharden("apply", "--yes")
    return str(raised.value)


def wipe(name: str) -> None:
    """Another machine in its place: nothing of it is left but its ssh host key."""
    power_off(name)
    for path in node_folder(CLUSTER, name).iterdir():
        if path.name != "ssh":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_control_plane_that_was_lost_joins_again(kharden: Run, node: Run) -> None:
    wipe("cp1")  # the first one: it must not make a cluster of its own
    kharden("lab.up", "--yes")
    assert "cp1: Join the cluster with this control plane" in kharden("plan", status=2)
    told = kharden("apply", "--yes")
    assert "cp1: Etcd can take a member: changed" in told
    assert members(node, "cp2") == {"cp1": True, "cp2": True, "cp3": True}
    assert is_whole(node, "cp1")
    assert "nothing to change" in kharden("apply", "--yes")


@pytest.mark.parametrize("begun", ["manifests/kube-apiserver.yaml", "manifests/etcd.yaml", "kubelet.conf"])
def test_a_join_that_is_cut_off_is_finished(site: Path, kharden: Run, node: Run, begun: str) -> None:
    wipe("cp3")
    kharden("lab.up", "--yes")
    process = started(site, "apply", "--yes", stdout=subprocess.DEVNULL)
    wait_for(lambda: node("cp3", f"test -e /etc/kubernetes/{begun} && echo there || true") == "there\n", begun, 900)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    node("cp3", "pkill --signal KILL --exact kubeadm || true")
    assert node("cp3", "ls /var/lib/kharden/joined 2> /dev/null || true") == ""
    kharden("apply", "--yes", "--break-lock")  # a run that is killed leaves the cluster's lock
    assert members(node, "cp1") == {"cp1": True, "cp2": True, "cp3": True}
    assert is_whole(node, "cp3")
    assert "nothing to change" in kharden("apply", "--yes")
