"""The modules staged, preflight, services and kubeadm, run as programs."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from playbooks.module_utils.kharden import kubeadm_phases, uploads
from tests.unit.ports import free_port

from .conftest import LIBRARY, Result, run_module, snapshot

if TYPE_CHECKING:
    from .conftest import Node


# --- staged

DIGEST = sha256(b"program").hexdigest()
WANTED = {"sha256": DIGEST, "size": 7, "further": "keys are fine"}


def staged(node: Node, *, check: bool = False, **values: object) -> Result:
    return run_module("staged", {"staging": str(node.staging), **values}, check=check)


def test_the_staging_folder_is_made_private(node: Node) -> None:
    first = staged(node, wanted=[WANTED])
    assert first.values["missing"] == [DIGEST]
    assert first.values["changed"] is True
    assert node.staging.stat().st_mode & 0o7777 == 0o700
    node.staging.chmod(0o755)
    assert staged(node).values["changed"] is True
    assert node.staging.stat().st_mode & 0o7777 == 0o700
    assert staged(node).values["changed"] is False


def test_what_is_staged_or_in_place_is_not_missing(node: Node) -> None:
    path = node.put("/usr/bin/program", "program")
    places = [{"path": str(path), "sha256": DIGEST}]
    assert staged(node, wanted=[WANTED], files=places).values["missing"] == []
    path.write_text("PROGRAM")
    assert staged(node, wanted=[WANTED], files=places).values["missing"] == [DIGEST]
    node.stage(b"program")
    assert staged(node, wanted=[WANTED]).values["missing"] == []


def test_an_upload_that_was_cut_off_is_missing(node: Node) -> None:
    node.stage(b"prog", name=DIGEST)
    assert staged(node, wanted=[WANTED]).values["missing"] == [DIGEST]


def test_cleaning_removes_what_was_staged(node: Node) -> None:
    node.stage(b"program")
    plan = staged(node, clean=True, check=True)
    assert plan.values["removed"] == [DIGEST]
    assert (node.staging / DIGEST).exists()
    assert staged(node, clean=True).values["changed"] is True
    assert list(node.staging.iterdir()) == []
    assert staged(node, clean=True).values["changed"] is False


def test_looking_in_check_mode_makes_nothing(node: Node) -> None:
    before = snapshot(node.root.parent)
    assert staged(node, wanted=[WANTED], check=True).values["missing"] == [DIGEST]
    assert staged(node, clean=True, check=True).values["removed"] == []
    assert snapshot(node.root.parent) == before


@pytest.mark.parametrize("wanted", [{"sha256": "../../etc/shadow", "size": 1}, {"sha256": DIGEST}, {}])
def test_what_is_no_digest_is_refused(node: Node, wanted: dict[str, object]) -> None:
    result = staged(node, wanted=[wanted])
    assert result.status == 1
    assert "correct the" in result.values["msg"]


# --- preflight


def preflight(**expectations: Any) -> Result:  # noqa: ANN401 - as the module takes them
    return run_module("preflight", {"expectations": expectations})


def test_a_machine_that_will_do_has_no_problem() -> None:
    result = preflight(
        addresses=["127.0.0.1"],
        forwards_ipv6=False,
        memory_mib=1,
        cpus=1,
        disk_mib={"/var/lib/not/there/yet": 1},
        programs={"mount": "mount"},
        swap_allowed=True,
        cgroup_version=[0, 1, 2],
        clock=int(time.time()),
        kernel_features=["path:/proc/sys/kernel", "filesystem:proc"],
    )
    assert result.values["problems"] == []
    assert result.values["changed"] is False


def test_every_problem_is_told_at_once_with_a_remedy() -> None:
    result = preflight(
        addresses=["192.0.2.7", "2001:db8::7"],
        memory_mib=1 << 40,
        cpus=1 << 20,
        disk_mib={"/": 1 << 40},
        programs={"no-such-program": "one", "nor-this": "two", "mount": "three"},
        cgroup_version=[3],
        distribution=[{"id": "beos", "versions": ["5"]}],
        clock=int(time.time()) + 3600,
        kernel_features=[
            "module:no_such_module",
            "filesystem:nofs",
            "controller:none",
            "lsm:none",
            "path:/none",
            "x:y",
        ],
    )
    assert result.status == 1
    assert len(result.values["problems"]) == 15
    assert all(problem["remedy"] for problem in result.values["problems"])
    assert "behind the controller" in result.values["msg"]
    assert "programs are missing: no-such-program, nor-this: run apt-get install one two there" in result.values["msg"]
    assert "\n" not in result.values["msg"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount needs root")
def test_a_file_in_the_place_of_a_folder_and_a_filesystem_that_is_read_only_are_told(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    folder = tmp_path / "read-only"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", folder], check=True)
    try:
        result = preflight(disk_mib={str(tmp_path / "log/audit"): 1, str(folder / "below"): 1})
    finally:
        subprocess.run(["umount", folder], check=True)
    assert [problem["what"] for problem in result.values["problems"]] == [
        f"{tmp_path}/log/audit: {tmp_path}/log is no folder",
        f"{folder}/below: its filesystem is read-only",
    ]


def test_a_taken_port_is_told_with_its_process_unless_that_may_have_it() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        taken = preflight(ports=[{"port": port, "programs": ["kube-apiserver"]}])
        (problem,) = taken.values["problems"]
        assert f"TCP port {port} is held by " in problem["what"]
        assert f"(process {os.getpid()})" in problem["what"]
        names = Path(f"/proc/{os.getpid()}/exe").resolve().name
        assert preflight(ports=[{"port": port, "programs": [names]}]).status == 0
        assert preflight(ports=[{"port": port, "programs": [], "protocol": "udp"}]).status == 0
    assert preflight(ports=[{"port": port, "programs": []}]).status == 0


@pytest.mark.parametrize("path", ["/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/etcd/ca.crt"])
def test_a_node_of_another_cluster_is_known_by_each_of_its_cas(node: Node, path: str) -> None:
    paths = ("/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/etcd/ca.crt")
    mine = {str(node.path(each)): sha256(b"mine").hexdigest() for each in paths}
    assert preflight(authorities=mine).status == 0
    for each in paths:
        node.put(each, "mine")
    assert preflight(authorities=mine).status == 0
    node.put(path, "theirs")
    (problem,) = preflight(authorities=mine).values["problems"]
    assert problem["what"].startswith(f"this node belongs to another cluster: {node.path(path)} ")


def test_an_expectation_of_another_form_is_one_line() -> None:
    forms: tuple[dict[str, Any], ...] = ({"addresses": ["nowhere"]}, {"ports": [{}]}, {"disk_mib": {"/": "much"}})
    for wrong in forms:
        result = preflight(**wrong)
        assert result.status == 1
        assert "correct it" in result.values["msg"]
        assert "Traceback" not in result.printed


# --- services


def test_a_name_that_is_no_unit_is_refused_before_anything_is_done(node: Node) -> None:
    for values in ({"restarts": ["kubelet; reboot"]}, {"units": [{"name": "kubelet"}]}, {"restarts": ["-f.service"]}):
        result = run_module("services", {"pending": str(node.pending), **values})
        assert result.status == 1
        assert "neither a unit's full name" in result.values["msg"]


def test_what_does_not_run_has_nothing_to_restart_and_is_struck_off(node: Node) -> None:
    node.state.mkdir()
    node.pending.write_text('{"schema": 1, "restarts": ["static-pod/no-such-pod", "kubelet.service"]}')
    arguments = {"pending": str(node.pending), "restarts": ["static-pod/no-such-pod"], "kernel": False}
    before = node.pending.read_text()
    assert run_module("services", arguments, check=True).values["actions"] == []
    assert node.pending.read_text() == before
    result = run_module("services", arguments)
    assert result.values["restarted"] == []
    assert '"kubelet.service"' in node.pending.read_text()
    assert "no-such-pod" not in node.pending.read_text()


# --- kubeadm

CONFIG = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: 10.77.0.11}
nodeRegistration: {name: cp1, criSocket: "unix:///run/containerd/containerd.sock"}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.36.3
controlPlaneEndpoint: 127.0.0.1:7443
networking: {podSubnet: 10.200.0.0/16, serviceSubnet: 10.201.0.0/16}
scheduler: {extraArgs: [{name: profiling, value: "PROFILING"}]}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
podPidsLimit: 4096
"""
KUBEADM = shutil.which("kubeadm", path=os.pathsep.join([os.environ.get("KHARDEN_PROGRAMS", ""), os.environ["PATH"]]))
needs_kubeadm = pytest.mark.skipif(KUBEADM is None, reason="no kubeadm in $KHARDEN_PROGRAMS or PATH")


def kubeadm(node: Node, phase: str, *, check: bool = False, diff: bool = False, **values: object) -> Result:
    scratch = node.root.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    config = node.put("/../kubeadm.yaml", CONFIG.replace("PROFILING", "false")).resolve()
    arguments = {
        "config": str(config),
        "phase": phase,
        "program": KUBEADM or "kubeadm",
        "manifests": str(node.path("/manifests")),
        "kubelet_folder": str(node.path("/kubelet")),
        "certificates": str(node.path("/pki")),
        "scratch": str(scratch),
        "pending": str(node.pending),
        "timeout": 0,
        "kubelet": "",
    }
    result = run_module("kubeadm", arguments | values, check=check, diff=diff)
    assert list(scratch.iterdir()) == []
    return result


@pytest.fixture
def made(node: Node) -> Node:
    """A control plane's files as kubeadm made them."""
    written = node.root.parent / "written"
    written.mkdir()
    config = node.put("/../kubeadm.yaml", CONFIG.replace("PROFILING", "false")).resolve()
    for phase in (["control-plane", "all"], ["etcd", "local"], ["kubelet-start"]):
        subprocess.run(
            [KUBEADM or "kubeadm", "init", "phase", *phase, f"--config={config}", "--dry-run"],
            check=True,
            capture_output=True,
            env={**os.environ, "KUBEADM_INIT_DRYRUN_DIR": str(written)},
        )
    for file in written.iterdir():
        folder = "manifests" if file.stem.startswith(("kube-", "etcd")) else "kubelet"
        node.put(f"/{folder}/{file.name}", file.read_text(), 0o600)
    return node


pod_files = ["etcd.yaml", "kube-apiserver.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml"]


@needs_kubeadm
@pytest.mark.programs
def test_what_kubeadm_made_is_what_it_would_make(made: Node) -> None:
    before = snapshot(made.root)
    for phase in ("static-pods", "kubelet-config"):
        result = kubeadm(made, phase, check=phase == "static-pods")  # there are no pods here that could answer
        assert result.status == 0, result.printed
        assert result.values["changes"] == []
        assert result.values["restarts"] == []
        assert result.values["initialised"] is True
    assert snapshot(made.root) == before


@needs_kubeadm
@pytest.mark.programs
def test_a_control_plane_must_answer_where_that_is_asked(made: Node) -> None:
    given = {"manifests": str(made.path("/manifests")), "pending": str(made.pending), "kernel": False, "timeout": 0}
    assert run_module("services", given).status == 0
    result = run_module("services", {**given, "control_plane": True})
    assert result.status == 1
    assert "static pod etcd: 0 s on, its process isn't there: look at journalctl" in result.values["msg"]
    assert run_module("services", {**given, "control_plane": True}, check=True).status == 0


# In a network namespace of its own, where nobody else has the service proxy's port: what comes of a module while
# nothing listens there, while something does that isn't well, and while a service proxy would.
PROXIED = """
import json, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from tests.unit.library.conftest import run_module

class Proxy(BaseHTTPRequestHandler):
    well = 503

    def do_GET(self):
        self.send_response(self.well if self.path == "/livez" else 404)
        self.end_headers()

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
given = json.loads(sys.argv[1])
done = [run_module("services", given), run_module("services", given, check=True)]
with HTTPServer(("127.0.0.1", 10256), Proxy) as server:
    Thread(target=server.serve_forever, daemon=True).start()
    for Proxy.well in (503, 200):
        done.append(run_module("services", given))
    server.shutdown()
print(json.dumps([[one.status, one.values.get("msg", "")] for one in done]))
"""


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_the_service_proxy_must_answer_where_that_is_asked(node: Node) -> None:
    given = {"pending": str(node.pending), "kernel": False, "timeout": 0, "service_proxy": True}
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", PROXIED, json.dumps(given)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    absent, planned, unwell, well = json.loads(done.stdout)
    for status, said in (absent, unwell):
        assert status == 1
        assert "kube-proxy: 0 s on, it doesn't answer on port 10256: look at kubectl" in said
    assert (planned, well) == ([0, ""], [0, ""])


class Api:
    """The edge: what the API has of the ConfigMaps."""

    def __init__(self, live: dict[str, dict[str, str]]) -> None:
        self.live = live

    def found(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        names = [item["metadata"]["name"] for item in items]
        return {f"ConfigMap/kube-system/{name}": {"data": self.live[name]} for name in names if name in self.live}


@needs_kubeadm
@pytest.mark.programs
def test_what_joins_are_made_of_is_compared_with_what_kubeadm_would_upload(node: Node, tmp_path: Path) -> None:
    config = node.put("/../kubeadm.yaml", CONFIG.replace("PROFILING", "false")).resolve()
    (scratch := tmp_path / "scratch").mkdir()
    source = kubeadm_phases.Source(KUBEADM or "kubeadm", str(config), str(node.path("/pki")), str(scratch))
    upload, addon = uploads.PARTS
    both = uploads.wanted(source)
    texts = both[upload]
    uploaded = yaml.safe_load(texts["kubeadm-config"]["ClusterConfiguration"])
    assert uploaded["scheduler"]["extraArgs"] == [{"name": "profiling", "value": "false"}]
    assert yaml.safe_load(texts["kubelet-config"]["kubelet"])["podPidsLimit"] == 4096
    proxy = both[addon]["kube-proxy"]
    assert yaml.safe_load(proxy["config.conf"])["kind"] == "KubeProxyConfiguration"
    assert not any(text.endswith("\n") for text in proxy.values())
    assert list(scratch.iterdir()) == []
    assert uploads.differences(Api(texts | both[addon]), both) == []  # type: ignore[arg-type]  # it asks for nothing else
    old = {"kubelet-config": {"kubelet": texts["kubelet-config"]["kubelet"].replace("4096", "1024")}}
    found = uploads.differences(Api(old), both)  # type: ignore[arg-type]
    assert [part for part, _ in found] == [upload, upload, addon]
    made, changed, again = (told for _, told in found)
    assert (made["restarts"], again["restarts"]) == ([], ["daemonset/kube-proxy"])
    assert (made["path"], made["action"]) == ("ConfigMap/kube-system/kubeadm-config", "create")
    assert (changed["path"], changed["action"]) == ("ConfigMap/kube-system/kubelet-config", "update")
    assert "-podPidsLimit: 1024\n+podPidsLimit: 4096" in changed["diff"]


@needs_kubeadm
@pytest.mark.programs
@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")
def test_a_worker_which_has_the_ca_but_no_key_can_be_compared(made: Node) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    now = dt.datetime.now(dt.UTC)
    authority = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made.put("/pki/ca.crt", authority.public_bytes(serialization.Encoding.PEM).decode())
    text = CONFIG.replace("PROFILING", "false").replace(
        "kind: ClusterConfiguration\n", f"kind: ClusterConfiguration\ncertificatesDir: {made.path('/pki')}\n"
    )
    seen = kubeadm(made, "kubelet-config", check=True, content=text, certificates="/no/such/folder")
    assert "external CA" in seen.values["msg"]
    hidden = kubeadm(made, "kubelet-config", check=True, content=text)
    assert hidden.status == 0, hidden.printed
    assert f"+    clientCAFile: {made.path('/pki')}/ca.crt" in hidden.values["changes"][0]["diff"]
    assert made.path("/pki/ca.crt").exists()


@needs_kubeadm
@pytest.mark.programs
def test_a_manifest_changed_by_hand_is_shown_and_check_mode_leaves_it(made: Node) -> None:
    scheduler = made.path("/manifests/kube-scheduler.yaml")
    scheduler.write_text(scheduler.read_text().replace("--profiling=false", "--profiling=true"))
    before = snapshot(made.root)
    result = kubeadm(made, "static-pods", check=True, diff=True)
    (change,) = result.values["changes"]
    assert change["path"] == str(scheduler)
    assert "-    - --profiling=true" in change["diff"]
    assert "+    - --profiling=false" in change["diff"]
    assert change["restarts"] == ["static-pod/kube-scheduler"]
    assert snapshot(made.root) == before
    only_etcd = kubeadm(made, "static-pods", check=True, names=["etcd"])
    assert only_etcd.values["changes"] == []


@needs_kubeadm
@pytest.mark.programs
def test_a_pod_that_does_not_come_back_gets_its_old_manifest_and_the_rest_is_not_touched(made: Node) -> None:
    controller, scheduler = (made.path(f"/manifests/kube-{name}.yaml") for name in ("controller-manager", "scheduler"))
    for path in (controller, scheduler):
        path.write_text(path.read_text().replace("imagePullPolicy: IfNotPresent", "imagePullPolicy: Always"))
    before = {path.name: path.read_text() for path in made.path("/manifests").iterdir()}
    result = kubeadm(made, "static-pods", names=["kube-controller-manager", "kube-scheduler"])
    assert result.status == 1
    assert "kube-controller-manager" in result.values["msg"]
    assert "static-pod" not in made.pending.read_text()  # nothing is left to restart
    assert "is back" in result.values["msg"]
    assert {path.name: path.read_text() for path in made.path("/manifests").iterdir()} == before


@needs_kubeadm
@pytest.mark.programs
def test_modes_are_put_right_without_a_restart(made: Node) -> None:
    made.path("/manifests/etcd.yaml").chmod(0o644)
    made.path("/kubelet/config.yaml").chmod(0o644)
    for phase, path in (("static-pods", "/manifests/etcd.yaml"), ("kubelet-config", "/kubelet/config.yaml")):
        result = kubeadm(made, phase, names=["etcd"])
        assert result.actions == {str(made.path(path)): "attributes"}
        assert result.values["restarts"] == []
        assert made.path(path).stat().st_mode & 0o7777 == 0o600


@needs_kubeadm
@pytest.mark.programs
def test_kubelet_settings_changed_by_hand_are_repaired_and_the_kubelet_is_to_restart(made: Node) -> None:
    config = made.path("/kubelet/config.yaml")
    good = config.read_text()
    config.write_text(good.replace("podPidsLimit: 4096", "podPidsLimit: -1"))
    result = kubeadm(made, "kubelet-config")
    assert result.actions == {str(config): "update"}
    assert result.values["restarts"] == ["kubelet.service"]
    assert config.read_text() == good
    assert kubeadm(made, "kubelet-config").values["restarts"] == ["kubelet.service"]
    assert "kubelet.service" in made.pending.read_text()


@needs_kubeadm
@pytest.mark.programs
def test_a_member_that_joined_keeps_what_it_knows_of_the_others(made: Node) -> None:
    etcd = made.path("/manifests/etcd.yaml")
    alone = "    - --initial-cluster=cp1=https://10.77.0.11:2380\n"
    joined = "    - --initial-cluster=cp2=https://10.77.0.12:2380,cp1=https://10.77.0.11:2380\n"
    state = "    - --initial-cluster-state=existing\n"
    text = etcd.read_text()
    assert alone in text
    etcd.write_text(text.replace(alone, joined + state))
    assert kubeadm(made, "static-pods", check=True).values["changes"] == []
    etcd.write_text(text.replace(alone, joined.replace("10.77.0.11", "10.77.0.99") + state))
    assert len(kubeadm(made, "static-pods", check=True).values["changes"]) == 1


@needs_kubeadm
@pytest.mark.programs
def test_a_plan_goes_by_the_text_and_patches_that_it_is_given(made: Node) -> None:
    text = CONFIG.replace("PROFILING", "true").replace(
        "kind: InitConfiguration\n", "kind: InitConfiguration\npatches: {directory: /etc/kharden/kubeadm/patches}\n"
    )
    patch = '{"metadata": {"labels": {"patched": "yes"}}}'
    result = kubeadm(made, "static-pods", check=True, content=text, patches={"etcd+strategic.json": patch})
    assert result.status == 0, result.printed
    assert set(result.actions) == {str(made.path(f"/manifests/{name}.yaml")) for name in ("etcd", "kube-scheduler")}
    escape = kubeadm(made, "static-pods", check=True, content=text, patches={"../x": patch})
    assert escape.status == 1
    assert "not a file's name" in escape.values["msg"]


@needs_kubeadm
@pytest.mark.programs
def test_a_configuration_that_kubeadm_refuses_is_told_without_its_token(made: Node) -> None:
    token = "abcdef.0123456789abcdef"
    text = CONFIG.replace(
        "kind: InitConfiguration\n", f"kind: InitConfiguration\nbootstrapTokens: [{{token: {token}X}}]\n"
    )
    refused = kubeadm(made, "static-pods", content=text)
    assert refused.status == 1
    assert "kubeadm init phase etcd local: refuses" in refused.values["msg"]
    unknown = kubeadm(made, "static-pods", content=text.replace(f"{token}X", token).replace("10.77.0.11", "nowhere"))
    assert unknown.status == 1
    assert token not in refused.values["msg"] + unknown.values["msg"]


def test_before_kubeadm_has_made_anything_a_plan_is_empty_and_a_run_is_refused(node: Node) -> None:
    for phase in ("static-pods", "kubelet-config"):
        plan = kubeadm(node, phase, check=True, program="/no/such/kubeadm")
        assert plan.values["initialised"] is False
        assert plan.values["changed"] is False
        run = kubeadm(node, phase, program="/no/such/kubeadm")
        assert run.status == 1
        assert "init or join this node first" in run.values["msg"]


def test_a_missing_kubeadm_is_one_line(node: Node) -> None:
    node.put("/kubelet/config.yaml", "x")
    result = kubeadm(node, "kubelet-config", program="/no/such/kubeadm")
    assert "/no/such/kubeadm: can't be run" in result.values["msg"]
    assert "Traceback" not in result.printed


# --- documentation


@pytest.mark.parametrize("name", ["converge", "staged", "services", "preflight", "kubeadm", "rolled_out"])
def test_what_is_documented_is_what_is_accepted(name: str) -> None:
    namespace: dict[str, Any] = {}
    source = (LIBRARY / f"{name}.py").read_text()
    documented = yaml.safe_load(source.partition('DOCUMENTATION = r"""')[2].partition('"""')[0])
    exec(compile(source, name, "exec"), namespace)  # noqa: S102 - our own module, as Ansible runs it
    _same(documented["options"], namespace["ARGUMENTS"])
    returned = yaml.safe_load(source.partition('RETURN = r"""')[2].partition('"""')[0])
    assert all(item.keys() >= {"description", "returned", "type"} for item in returned.values())
    assert yaml.safe_load(source.partition('EXAMPLES = r"""')[2].partition('"""')[0])


def _same(documented: dict[str, Any], accepted: dict[str, Any]) -> None:
    assert documented.keys() == accepted.keys()
    for option, told in documented.items():
        taken = accepted[option]
        for key in ("type", "required", "default", "choices", "elements"):
            assert told.get(key) == taken.get(key), (option, key)
        _same(told.get("suboptions", {}), taken.get("options", {}))
