"""The main job, end to end on real nodes: bootstrap, a working network, a quiet second apply, a verdict, a repair."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e import pods
from tests.e2e.sites import described
from tests.e2e.states import state
from tests.unit.render.programs import found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.lab, pytest.mark.programs]

CHECKOUT = Path(__file__).parents[2]
CLUSTER = "e2e"
# Both nodes are reached through a jump host and in no other way, the control plane as root, the worker as a user with
# sudo and on another port. tests/faults has a control plane that is reached directly.
ROLES = {
    "control-plane\n": "control-plane\n      ssh: {jumpHost: bastion}\n",
    "worker\n": """worker
      ssh: {user: admin, port: 2222, jumpHost: bastion}
  jumpHosts:
    - {name: bastion, address: 10.81.0.5, user: jump}
  access: {ssh: [10.81.0.5/32], api: [10.81.0.1/32]}
""",
}
KUBECTL = "KUBECONFIG=/etc/kubernetes/admin.conf kubectl"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user of the installed program has it, with a cluster beside whatever lab runs already."""
    root = tmp_path_factory.mktemp("site")
    text = described(CLUSTER, "10.81.0")
    for role, reached in ROLES.items():
        text = text.replace(f"      role: {role}", f"      role: {reached}")
    folder = root / "inventories" / CLUSTER
    folder.mkdir(parents=True)
    (folder / "cluster.yaml").write_text(text, encoding="utf-8")
    return root


def install(folder: Path, interpreter: str) -> Path:
    """The wheel of this checkout in an environment of its own, far from the checkout; its kharden program."""
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, CHECKOUT], check=True)
    subprocess.run([interpreter, "-m", "venv", folder / "venv"], check=True)
    lock = ("--constraint", CHECKOUT / "requirements.lock")
    (wheel,) = wheels.iterdir()
    subprocess.run([folder / "venv/bin/pip", "--quiet", "install", *lock, wheel], check=True)
    return folder / "venv/bin/kharden"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("installed"), sys.executable)


@pytest.fixture(scope="module")
def kharden(site: Path, program: Path) -> Run:
    environment = os.environ | {"KHARDEN_CLUSTER": CLUSTER, "KHARDEN_IDENTITY": f"{site}/identity/", "COLUMNS": "160"}
    (site / "identity").mkdir(mode=0o700)

    def run(*arguments: str, status: int = 0, text: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program, *arguments],
            cwd=site,
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def empty_nodes(kharden: Run) -> Iterator[None]:
    """Nodes that have booted, with everything rendered for them and nothing applied."""
    kharden("lab.down")  # A run that was killed leaves its nodes' disks behind, with a cluster that is not this one.
    try:
        kharden("lab.up", "--yes")
        kharden("render")
        yield
    finally:
        kharden("lab.down")


TREE = """
find /etc /opt /root /usr/local /var/lib -xdev \\( -type f -o -type l -o -type d \\) -printf '%p %y %m %U %s %T@\\n' |
    grep -v -e /var/lib/systemd/ -e /etc/resolv.conf | sort | sha256sum
"""


@pytest.fixture(scope="module")
def planned(kharden: Run, empty_nodes: None) -> tuple[str, list[str], list[str]]:
    """What plan says of empty nodes, and their files' names, modes and times before and after it."""
    assert empty_nodes is None

    def trees() -> list[str]:
        return [kharden("lab.shell", name, "--command", TREE).stdout for name in ("cp1", "w1")]

    before = trees()
    return kharden("plan", status=2).stdout, before, trees()


@pytest.fixture(scope="module")
def bootstrapped(kharden: Run, planned: tuple[str, list[str], list[str]]) -> str:
    assert planned
    told = kharden("render", "apply", "--yes").stdout
    kharden("verify")  # at once: apply ends when everything is there, not when it has been asked for
    return told


def test_a_plan_for_empty_nodes_tells_all_and_writes_nothing(planned: tuple[str, list[str], list[str]]) -> None:
    told, before, after = planned
    assert before == after
    assert "cp1: Initialise the cluster here" in told
    assert "w1: Join the cluster with this node" in told
    assert "+kind: KubeletConfiguration" in told
    assert "PRIVATE KEY" not in told


@pytest.fixture(scope="module")
def node(kharden: Run, bootstrapped: str) -> Run:
    """Runs a command as root in a node of the cluster that is up."""
    assert bootstrapped

    def run(name: str, command: str, *, text: str = "") -> subprocess.CompletedProcess[str]:
        return kharden("lab.shell", name, "--command", command, text=text)

    return run


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"{what}: not within {seconds} s"
        time.sleep(0.5)  # the pace of looking; the condition ends the wait


def kubernetes(node: Run, command: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(node("cp1", f"{KUBECTL} {command} --output=json").stdout)
    return answer


def test_both_nodes_are_ready_and_run_what_was_asked_for(node: Run) -> None:
    found = {
        item["metadata"]["name"]: (
            item["status"]["nodeInfo"]["kubeletVersion"],
            {condition["type"]: condition["status"] for condition in item["status"]["conditions"]}["Ready"],
        )
        for item in kubernetes(node, "get nodes")["items"]
    }
    assert found == {"cp1": ("v1.36.3", "True"), "w1": ("v1.36.3", "True")}


RESOLVE_AND_FETCH = """
import socket, struct, sys, urllib.request
dns, name = sys.argv[1:]
query = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0)
query += b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\\0" + struct.pack(">2H", 1, 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
    udp.settimeout(5)
    udp.sendto(query, (dns, 53))
    answer = udp.recv(512)
address = socket.inet_ntoa(answer[-4:])
print(address, urllib.request.urlopen(f"http://{address}/", timeout=30).read().decode())
"""


def test_a_pod_resolves_a_service_and_reaches_a_pod_of_the_other_node(
    node: Run,
) -> None:
    image = pods.pause_image(kubernetes(node, "get nodes"))
    wanted = (pods.service("web"), pods.pod("web", "w1", image), pods.pod("client", "cp1", image))
    node("cp1", f"{KUBECTL} apply --filename=-", text=pods.several(*wanted))
    node("cp1", f"{KUBECTL} wait --for=condition=Ready pod/web pod/client --timeout=240s")
    web, client = (kubernetes(node, f"get pod {name}") for name in ("web", "client"))
    server = pods.enter(web)
    node(
        "w1",
        "mkdir -p /run/web && echo -n hello-from-w1 > /run/web/index.html && "
        f"systemd-run --quiet --unit=web {server} python3 -m http.server --directory /run/web 8080",
    )
    entered = pods.enter(client)
    expected = kubernetes(node, "get service web")["spec"]["clusterIP"]
    seen: list[str] = []

    def answered() -> bool:
        command = f"{entered} python3 - 10.201.0.10 web.default.svc.cluster.local || true"
        seen[:] = node("cp1", command, text=RESOLVE_AND_FETCH).stdout.split()
        return seen == [expected, "hello-from-w1"]

    wait_for(answered, "the service answers by its name")
    assert web["status"]["podIP"].startswith("10.200.21.")
    assert client["status"]["podIP"].startswith("10.200.11.")
    node("w1", "systemctl stop web")
    node("cp1", f"{KUBECTL} delete pod/web pod/client service/web --wait")


def test_a_node_is_reached_the_way_that_its_spec_names_and_no_other(site: Path, node: Run) -> None:
    for name, user in (("cp1", "root"), ("w1", "admin")):
        logins = node(name, "journalctl --unit=ssh --grep='Accepted publickey' --output=cat").stdout.splitlines()
        assert logins
        assert [line for line in logins if f"publickey for {user} from 10.81.0.5 " not in line] == []
    assert "no listener" in node("w1", "ss --listening --tcp --numeric | grep ':22 ' || echo no listener").stdout
    ssh = ["ssh", "-F", str(site / "build" / CLUSTER / "ansible" / "ssh_config"), "-o", "ConnectTimeout=2"]
    for arguments, reason in (
        (("-l", "root", "w1"), "root@10.81.0.21: Permission denied"),
        (("-o", "ProxyJump=none", "w1"), "10.81.0.21 port 2222: Connection timed out"),
        (("-o", "ProxyJump=none", "cp1"), "10.81.0.11 port 22: Connection timed out"),
    ):
        refused = subprocess.run(
            [*ssh, *arguments, "true"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert (refused.returncode, reason in refused.stderr) == (255, True), refused.stderr
    there = node("bastion", "ls /etc/kubernetes /usr/local/bin 2>&1; ss --listening --tcp --numeric --no-header").stdout
    assert "kube-" not in there
    assert all(":22 " in line for line in there.splitlines() if "LISTEN" in line)


METADATA = "169.254.169.254"


def connects(host: str, port: int) -> bool:
    """From this machine, which is outside of the cluster."""
    try:
        with socket.create_connection((host, port), timeout=3):
            return True
    except OSError:
        return False


@pytest.fixture
def published(node: Run) -> Iterator[str]:
    """A service on a NodePort of every node, with a pod of w1 behind it; how to enter that pod's network."""
    image = pods.pause_image(kubernetes(node, "get nodes"))
    wanted = (pods.service("web", node_port=30080), pods.pod("web", "w1", image))
    node("cp1", f"{KUBECTL} apply --filename=-", text=pods.several(*wanted))
    node("cp1", f"{KUBECTL} wait --for=condition=Ready pod/web --timeout=240s")
    enter = pods.enter(kubernetes(node, "get pod web"))
    node("w1", f"systemd-run --quiet --unit=web {enter} python3 -m http.server --directory /run 8080")
    yield enter
    node("w1", "systemctl stop web")
    node("cp1", f"{KUBECTL} delete pod/web service/web --wait")


SERVICE_RULES = "nft --handle --stateless list table ip kube-proxy | sha256sum"


def test_a_node_port_is_reached_from_where_it_may_be(site: Path, kharden: Run, node: Run, published: str) -> None:
    assert published
    path = site / "inventories" / CLUSTER / "cluster.yaml"
    text = path.read_text(encoding="utf-8")
    for address in ("10.81.0.11", "10.81.0.21"):
        assert not connects(address, 30080)
        # Between nodes it is open, so what is missing from outside is the way and not the service.
        node("cp1", f"timeout 240 bash -c 'until echo > /dev/tcp/{address}/30080; do sleep 0.5; done' 2> /dev/null")
    service_rules = [node(name, SERVICE_RULES).stdout for name in ("cp1", "w1")]
    opened = text.replace("access: {ssh: ", "access: {nodePorts: [10.81.0.1/32], ssh: ")
    assert opened != text
    path.write_text(opened, encoding="utf-8")
    try:
        kharden("render", "apply", "--yes")
        assert connects("10.81.0.11", 30080)
        assert connects("10.81.0.21", 30080)
        assert [node(name, SERVICE_RULES).stdout for name in ("cp1", "w1")] == service_rules
    finally:
        path.write_text(text, encoding="utf-8")
        kharden("render", "apply", "--yes")
    assert not connects("10.81.0.21", 30080)


@pytest.fixture
def metadata_service(kharden: Run, bootstrapped: str) -> Iterator[None]:
    """Something that answers where a cloud would tell a machine about itself, with a way back to the pods of w1."""
    assert bootstrapped
    kharden("lab.status")
    bridge, route = f"kh-{CLUSTER}", ["ip", "route", "replace", "10.200.21.0/24", "via", "10.81.0.21"]
    subprocess.run(["ip", "address", "replace", f"{METADATA}/32", "dev", bridge], check=True)
    try:
        subprocess.run(route, check=True)
        with socket.create_server((METADATA, 80)):
            yield
    finally:
        subprocess.run([*route[:2], "delete", route[3]], check=False)
        subprocess.run(["ip", "address", "delete", f"{METADATA}/32", "dev", bridge], check=True)


TRY_METADATA = f"timeout 3 bash -c 'echo > /dev/tcp/{METADATA}/80' 2> /dev/null && echo reached || echo dropped"


def test_a_pod_does_not_reach_the_machines_metadata(
    kharden: Run, node: Run, published: str, metadata_service: None
) -> None:
    assert metadata_service is None
    assert node("w1", TRY_METADATA).stdout == "reached\n"
    assert node("w1", f"{published} {TRY_METADATA}").stdout == "dropped\n"
    node("w1", "nft delete table inet kharden")
    assert node("w1", f"{published} {TRY_METADATA}").stdout == "reached\n"
    assert "w1: Run services" in kharden("plan", status=2).stdout
    kharden("apply", "--yes")
    assert node("w1", f"{published} {TRY_METADATA}").stdout == "dropped\n"


CLIENT_CA = "/etc/kubernetes/pki/client-ca.crt"
ONLY_THE_CLUSTERS = f"""
import pathlib
path = pathlib.Path("{CLIENT_CA}")
first, mark, _ = path.read_text().partition("-----END CERTIFICATE-----\\n")
path.with_suffix(".new").write_text(first + mark)
path.with_suffix(".new").rename(path)
"""


def test_a_person_reaches_the_api_for_an_hour_at_most_and_until_that_is_revoked(
    site: Path, kharden: Run, node: Run
) -> None:
    path = site / "jane.kubeconfig"
    kubectl = [found()["kubectl"], "--kubeconfig", str(path), "--request-timeout=60s"]

    def asked(*arguments: str) -> str:
        done = subprocess.run([*kubectl, *arguments], capture_output=True, text=True, check=False, timeout=240)
        return done.stdout + done.stderr

    def given(*arguments: str) -> None:
        kharden("kubeconfig", "--user", "jane", "--output", str(path), "--replace", *arguments)

    given()
    assert path.stat().st_mode & 0o777 == 0o600
    who = json.loads(asked("auth", "whoami", "--output=json"))["status"]["userInfo"]
    assert (who["username"], set(who["groups"])) == ("jane", {"kharden:administrators", "system:authenticated"})
    assert asked("auth", "can-i", "*", "*", "--all-namespaces").splitlines()[-1] == "yes"
    assert "is there already" in kharden("kubeconfig", "--output", str(path), status=1).stderr
    given("--group", "strangers")
    assert "no" in asked("auth", "can-i", "list", "secrets").splitlines()[-1]
    given("--hours", "0.001")
    wait_for(lambda: "Unauthorized" in asked("get", "namespaces"), "a certificate of four seconds ends", 120)
    given("--hours", "0.5")
    assert "kube-system" in asked("get", "namespaces")
    node("cp1", f"cp --preserve {CLIENT_CA} /root/both.crt")
    node("cp1", "python3 -", text=ONLY_THE_CLUSTERS)
    try:
        # The API server looks at the file again once a minute, or as soon as it is told that it has changed.
        wait_for(lambda: "Unauthorized" in asked("get", "namespaces"), "the people's authority is taken away")
    finally:
        node("cp1", f"mv /root/both.crt {CLIENT_CA}")
    wait_for(lambda: "kube-system" in asked("get", "namespaces"), "it is back")


def seen(node: Run) -> dict[str, Any]:
    return state(lambda name, command, text: node(name, command, text=text).stdout, ("cp1", "w1"))


def test_a_second_apply_changes_nothing(kharden: Run, node: Run) -> None:
    before = seen(node)
    assert before["cp1"]["starts"]
    done = kharden("apply", "--yes")
    assert "nothing to change" in done.stdout
    assert seen(node) == before
    told = json.loads(kharden("plan", "--json").stdout)
    assert told["changes"] == []
    # One look at each node says so.
    assert max(told["tasks"].values()) <= 2


def report(site: Path) -> dict[str, Any]:
    newest = max((site / "evidence" / CLUSTER).iterdir())
    document: dict[str, Any] = json.loads((newest / "report.json").read_text(encoding="utf-8"))
    return document


def verdicts(site: Path) -> dict[str, str]:
    return {control["id"]: control["verdict"] for control in report(site)["controls"]}


def test_verify_passes(site: Path, kharden: Run, bootstrapped: str) -> None:
    assert bootstrapped
    kharden("verify")
    summary = report(site)["summary"]
    assert summary.get("fail", 0) == summary.get("unknown", 0) == 0
    assert summary["pass"] >= 25
    assert all(control["observations"] for control in report(site)["controls"] if control["verdict"] == "pass")


# Name → common name, SANs and whose credential asks: the kubelet's of w1, or the administrator's.
FOREIGN_REQUESTS = {
    "foreign-san": ("system:node:w1", ("w1", "api.example.org"), "kubelet"),
    "foreign-address": ("system:node:w1", ("10.81.0.11",), "kubelet"),
    "wrong-cn": ("system:node:w9", ("w1",), "admin"),
    "another-node": ("system:node:cp1", ("cp1",), "admin"),
    "no-node": ("system:node:w1", ("w1",), "admin"),
}


def signing_request(name: str, common_name: str, sans: tuple[str, ...]) -> dict[str, Any]:
    """A request for a kubelet's serving certificate, as the API takes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [(x509.NameOID.ORGANIZATION_NAME, "system:nodes"), (x509.NameOID.COMMON_NAME, common_name)]
    names = [x509.IPAddress(ip_address(san)) if san[0].isdigit() else x509.DNSName(san) for san in sans]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(kind, value) for kind, value in subject]))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = request.public_bytes(serialization.Encoding.PEM)
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "signerName": "kubernetes.io/kubelet-serving",
            "usages": ["digital signature", "server auth"],
            "request": base64.b64encode(pem).decode(),
        },
    }


def test_requests_that_are_not_the_plans_stay_pending_and_are_named(kharden: Run, node: Run) -> None:
    credentials = {
        "kubelet": ("w1", "kubectl --kubeconfig=/etc/kubernetes/kubelet.conf"),
        "admin": ("cp1", KUBECTL),
    }
    for name, (common_name, sans, who) in FOREIGN_REQUESTS.items():
        where, kubectl = credentials[who]
        node(where, f"{kubectl} create --filename=-", text=json.dumps(signing_request(name, common_name, sans)))
    # With a kubelet's own credential another name doesn't even become a request: NodeRestriction refuses it.
    for common_name in ("system:node:w9", "system:node:cp1"):
        request = json.dumps(signing_request("refused", common_name, ("w1",)))
        said = node("w1", f"{credentials['kubelet'][1]} create --filename=- 2>&1 || true", text=request).stdout
        assert "can only create a node CSR with CN=system:node:w1" in said
    try:
        told = kharden("apply", "--yes").stdout
        for name in FOREIGN_REQUESTS:
            assert f"Note: cp1: certificate request '{name}' of " in told
            found = kubernetes(node, f"get certificatesigningrequest {name}")
            assert not found.get("status", {}), name
        assert "nothing to change" in told
        assert "'foreign-san' of 'system:node:w1' stays pending: 'api.example.org' is no name of this node" in told
        assert "'no-node' of 'kubernetes-admin' stays pending: the requester is no node of this cluster" in told
    finally:
        node("cp1", f"{KUBECTL} delete certificatesigningrequest {' '.join(FOREIGN_REQUESTS)}")


SCHEDULER = "/etc/kubernetes/manifests/kube-scheduler.yaml"
BY_HAND = [
    pytest.param("chmod 0644 /etc/kubernetes/admin.conf", "kubeconfigs-mode", id="mode"),
    pytest.param(
        f"sed -i 's/--profiling=false/--profiling=true/' {SCHEDULER}", "scheduler-profiling-off", id="argument"
    ),
]


@pytest.mark.parametrize(("command", "control"), BY_HAND)
def test_a_change_by_hand_is_found_and_repaired(
    site: Path, kharden: Run, node: Run, command: str, control: str
) -> None:
    kharden("verify")
    assert verdicts(site)[control] == "pass"
    node("cp1", command)
    kharden("plan", status=2)

    def found() -> bool:
        kharden("verify", status=2)
        return verdicts(site)[control] == "fail"

    wait_for(found, f"{control} fails")
    kharden("apply", "--yes")
    assert "nothing to change" in kharden("plan").stdout
    kharden("verify")
    assert verdicts(site)[control] == "pass"


def test_what_differs_is_told_once(kharden: Run, node: Run) -> None:
    """Several tasks of a node look at its units; one looks at its kernel."""
    name = "net.ipv4.conf.all.accept_redirects"
    node("w1", f"sysctl --quiet --write {name}=1")
    assert kharden("plan", status=2).stdout.count("/accept_redirects") == 1
    kharden("apply", "--yes")
    assert node("w1", f"sysctl --values {name}").stdout == "0\n"


def other_python() -> str | None:
    """The newest Python but the suite's own that can make environments: on PATH, or one that pyenv hides."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    roots = {Path.home() / ".pyenv", *(folder.parent for folder in folders if folder.name == "shims")}
    for minor in (minor for minor in (13, 12, 11) if minor != sys.version_info.minor):
        name = f"python3.{minor}"
        hidden = [path for root in sorted(roots) for path in sorted(root.glob(f"versions/3.{minor}.*/bin/{name}"))]
        for candidate in (*(folder / name for folder in folders), *hidden):
            asked = (candidate, "-c", "import ensurepip, ssl, venv")
            if os.access(candidate, os.X_OK) and not subprocess.run(asked, capture_output=True, check=False).returncode:
                return str(candidate)
    return None


@pytest.mark.usefixtures("bootstrapped")
def test_another_python_with_its_own_ansible_sees_the_same_cluster(site: Path, tmp_path: Path) -> None:
    other = other_python()
    if other is None:
        pytest.skip(f"this machine has no Python but {sys.version.split()[0]}, with which all other tests ran")
    done = subprocess.run(
        [install(tmp_path, other), "plan", "--cluster", CLUSTER],
        cwd=site,
        env=os.environ | {"KHARDEN_IDENTITY": f"{site}/identity/"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (done.returncode, "nothing to change" in done.stdout) == (0, True), done.stderr
