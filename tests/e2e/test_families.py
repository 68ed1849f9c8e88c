"""A cluster of IPv6 alone and one of both families: `invoke test --all`, not part of CI."""

from __future__ import annotations

import json
import socket
import subprocess
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e.sites import Program, described, program
from tests.e2e.states import differences, state, steady_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., str]

pytestmark = [pytest.mark.lab, pytest.mark.programs]

CLUSTER = "e2e-families"
# nodeCIDRs, podCIDRs and serviceCIDRs of each family.
RANGES = {
    4: ("10.84.0.0/24", "10.200.0.0/16", "10.201.0.0/16"),
    6: ("fd00:84::/64", "fd00:84:1::/56", "fd00:84:2::/112"),
}
OFFSETS = {"cp1": "11", "w1": "21"}
HOMES = {4: "10.84.0.{}", 6: "fd00:84::{}"}
DNS = {4: "10.201.0.10", 6: "fd00:84:2::a"}
SERVED = "/var/lib/kubelet/pki/kubelet-server-current.pem"
KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"


def with_families(families: tuple[int, ...]) -> dict[str, Any]:
    """lab-small's cluster.yaml with ranges and addresses of these families."""
    document: dict[str, Any] = yaml.safe_load(described(CLUSTER, "10.84.0"))
    spec = document["spec"]
    for node in spec["nodes"]:
        addresses = [HOMES[family].format(OFFSETS[node["name"]]) for family in families]
        node |= dict(zip(("address", "secondAddress"), addresses, strict=False))
    keys = ("nodeCIDRs", "podCIDRs", "serviceCIDRs")
    spec["network"] = {key: [RANGES[family][i] for family in families] for i, key in enumerate(keys)}
    return document


@pytest.fixture(scope="module", params=[(6,), (4, 6)], ids=["IPv6", "IPv4 and IPv6"])
def families(request: pytest.FixtureRequest) -> tuple[int, ...]:
    chosen: tuple[int, ...] = request.param
    return chosen


@pytest.fixture(scope="module")
def kharden(families: tuple[int, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program of this checkout, for a cluster of those families; its nodes are gone afterwards."""
    text = yaml.safe_dump(with_families(families), sort_keys=False)
    with program(tmp_path_factory.mktemp("site"), CLUSTER, cluster=text) as run:
        run("render", "apply", "--yes")
        yield run


@pytest.fixture(scope="module")
def node(kharden: Program) -> Run:
    return kharden.node


def test_a_cluster_of_those_families_stays_as_it_is_and_proves_itself(
    kharden: Program, families: tuple[int, ...]
) -> None:
    before = steady_state(kharden.node, tuple(OFFSETS))
    assert "nothing to change" in kharden("apply", "--yes")
    assert differences(before, state(kharden.node, tuple(OFFSETS))) == []
    kharden("plan")
    report = json.loads(kharden("verify", "--json"))
    reached = next(one for one in report["controls"] if one["id"] == "firewall-reach-worker")
    told = "\n".join(one["expected"] for one in reached["observations"])
    for family, home in HOMES.items():
        for origin in ("the controller", "cp1", "a pod of cp1", "a pod of w1"):
            address = home.format(OFFSETS["w1"])
            where = f"[{address}]:10250" if family == 6 else f"{address}:10250"
            assert (f"from {origin} to {where}: " in told) is (family in families)


def test_a_kubelet_has_an_address_of_each_family_and_a_certificate_for_it(node: Run, families: tuple[int, ...]) -> None:
    for name, offset in OFFSETS.items():
        wanted = [HOMES[family].format(offset) for family in families]
        status = json.loads(node("cp1", f"{KUBECTL} get node {name} --output=json"))["status"]
        assert [one["address"] for one in status["addresses"] if one["type"] == "InternalIP"] == wanted
        served = node(name, f"openssl x509 -noout -ext subjectAltName -in {SERVED}")
        names = [part.strip() for part in served.splitlines()[1].split(",")]
        found = {ip_address(part.removeprefix("IP Address:")) for part in names if part.startswith("IP Address:")}
        assert found == set(map(ip_address, wanted))


PODS = """
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Service
    metadata: {name: web, namespace: default}
    spec:
      type: NodePort
      ipFamilyPolicy: PreferDualStack
      selector: {app: web}
      ports: [{port: 80, targetPort: 8080, nodePort: 30084}]
  - &pod
    apiVersion: v1
    kind: Pod
    metadata: {name: web, namespace: default, labels: {app: web}}
    spec: &spec
      nodeName: w1
      automountServiceAccountToken: false
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, runAsUser: 65535, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: pause
          image: PAUSE
          imagePullPolicy: IfNotPresent
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  - <<: *pod
    metadata: {name: client, namespace: default}
    spec: {<<: *spec, nodeName: cp1}
  - <<: *pod
    metadata: {name: neighbour, namespace: default}
"""
ENTER = "nsenter --net --target $(grep -lE 'pod{uid}' /proc/[0-9]*/cgroup | head -1 | cut -d/ -f3) -- "
# Arguments: the server's addresses, then DNS and "4" or "6" in turns; prints what each way led to.
FETCH = """
import socket, struct, sys, urllib.request

def fetched(address):
    host = f"[{address}]" if ":" in address else address
    return urllib.request.urlopen(f"http://{host}/", timeout=5).read().decode()

def resolved(server, family):
    name = "web.default.svc.cluster.local"
    query = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0)
    query += b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\\0"
    query += struct.pack(">2H", 28 if family == "6" else 1, 1)
    with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.sendto(query, (server, 53))
        answer = udp.recv(512)
    if family == "6":
        return socket.inet_ntop(socket.AF_INET6, answer[-16:])
    return socket.inet_ntoa(answer[-4:])

server, families, *addresses = sys.argv[1:]
for address in addresses:
    host = f"[{address}]:8080" if ":" in address else f"{address}:8080"
    print("pod", address, urllib.request.urlopen(f"http://{host}/", timeout=5).read().decode())
for family in families:
    address = resolved(server, family)
    print("service", address, fetched(address))
"""


@pytest.fixture(scope="module")
def pods(node: Run) -> dict[str, Any]:
    """A server on w1, a client on each node; by name."""
    nodes = json.loads(node("cp1", f"{KUBECTL} get nodes --output=json"))["items"]
    names = (name for item in nodes for image in item["status"]["images"] for name in image["names"])
    pause = next(name for name in names if "/pause:" in name)
    node("w1", "mkdir -p /run/web && echo -n hello-from-w1 > /run/web/index.html")
    node("cp1", f"{KUBECTL} apply --filename=-", text=PODS.replace("PAUSE", pause))
    node("cp1", f"{KUBECTL} wait --for=condition=Ready pod/web pod/client pod/neighbour --timeout=120s")
    listed = json.loads(node("cp1", f"{KUBECTL} get pods --output=json"))["items"]
    found = {pod["metadata"]["name"]: pod for pod in listed}
    enter = entered(found["web"])
    node("w1", f"systemd-run --quiet --unit=web {enter} python3 -m http.server --bind :: --directory /run/web 8080")
    node("w1", until(f"{enter} ss --listening --tcp --numeric --no-header | grep --quiet :8080"))
    return found


def until(command: str) -> str:
    """A shell's words for trying it until it works, for a minute at most."""
    return f"for try in $(seq 60); do {command} && exit 0; sleep 1; done; exit 1"


def entered(pod: dict[str, Any]) -> str:
    """How to run something in the network of a pod, on its node."""
    return ENTER.format(uid=pod["metadata"]["uid"].replace("-", "[-_]"))


@pytest.mark.parametrize(("place", "client"), [("cp1", "client"), ("w1", "neighbour")])
def test_a_pod_reaches_another_and_a_service_by_its_name_over_each_family(
    node: Run, pods: dict[str, Any], families: tuple[int, ...], place: str, client: str
) -> None:
    addresses = [one["ip"] for one in pods["web"]["status"]["podIPs"]]
    assert [ip_address(address).version for address in addresses] == list(families)
    services = json.loads(node("cp1", f"{KUBECTL} get service web --output=json"))["spec"]["clusterIPs"]
    wanted = [f"pod {address} hello-from-w1" for address in addresses]
    wanted += [f"service {address} hello-from-w1" for address in services]
    asked = " ".join((DNS[families[0]], "".join(map(str, families)), *addresses))
    node(place, "cat > /run/fetch.py", text=FETCH)
    found = node(place, until(f"{entered(pods[client])} python3 /run/fetch.py {asked} 2> /dev/null"))
    assert found.splitlines()[-len(wanted) :] == wanted


def connects(host: str, port: int) -> bool:
    """From this machine, which is outside of the cluster."""
    try:
        with socket.create_connection((host, port), timeout=3):
            return True
    except OSError:
        return False


def test_a_node_port_is_open_to_nodes_and_to_nobody_outside_over_each_family(
    node: Run, pods: dict[str, Any], families: tuple[int, ...]
) -> None:
    assert pods
    for family in families:
        for offset in OFFSETS.values():
            address = HOMES[family].format(offset)
            node("cp1", until(f"timeout 5 bash -c 'echo > /dev/tcp/{address}/30084' 2> /dev/null"))
            assert not connects(address, 30084)
            assert connects(address, 22)


METADATA = "fd00:ec2::254"
TRY_METADATA = f"timeout 5 bash -c 'echo > /dev/tcp/{METADATA}/80' 2> /dev/null"


@pytest.fixture
def metadata_service(pods: dict[str, Any]) -> Iterator[str]:
    """What answers where a cloud would tell a machine about itself; how to enter a pod to which it has a way back."""
    web = pods["web"]
    own = next(one["ip"] for one in web["status"]["podIPs"] if ":" in one["ip"])
    route = ["ip", "route", "replace", f"{own}/128", "via", HOMES[6].format(OFFSETS["w1"])]
    subprocess.run(["ip", "address", "replace", f"{METADATA}/128", "dev", f"kh-{CLUSTER}", "nodad"], check=True)
    try:
        subprocess.run(route, check=True)
        with socket.create_server((METADATA, 80), family=socket.AF_INET6):
            yield entered(web)
    finally:
        subprocess.run([*route[:2], "delete", route[3]], check=False)
        subprocess.run(["ip", "address", "delete", f"{METADATA}/128", "dev", f"kh-{CLUSTER}"], check=True)


def test_a_pod_does_not_reach_the_machines_metadata_by_ipv6(kharden: Program, node: Run, metadata_service: str) -> None:
    from_pod = f"{metadata_service} {TRY_METADATA}"
    node("w1", until(TRY_METADATA))
    node("w1", f"! {from_pod}")
    node("w1", "nft delete table inet kharden")
    node("w1", until(from_pod))
    kharden("apply", "--yes")
    node("w1", f"! {from_pod}")


def test_what_is_changed_by_hand_in_the_other_family_is_seen_and_repaired(kharden: Program, node: Run) -> None:
    # Not forwarding: the plugin that connects a pod turns that on again.
    node("w1", "sysctl --quiet --write net.ipv6.conf.all.accept_redirects=1")
    node("cp1", "nft insert rule inet kharden input ip6 saddr fd00:84::1 tcp dport 10250 accept")
    report = json.loads(kharden("verify", "--json", status=2))
    failed = {
        (one["id"], seen["node"], seen["expected"], seen["observed"])
        for one in report["controls"]
        if one["verdict"] == "fail"
        for seen in one["observations"]
    }
    assert ("sysctl-network", "w1", "net.ipv6.conf.all.accept_redirects = 0", "1") in failed
    address = HOMES[6].format(OFFSETS["cp1"])
    way = f"from the controller to [{address}]:10250: dropped"
    assert ("firewall-reach-control-plane", "cp1", way, "connected") in failed
    assert any(control == "firewall-rules" and "fd00:84::1" in seen for control, _, _, seen in failed)
    kharden("apply", "--yes")
    kharden("verify")
