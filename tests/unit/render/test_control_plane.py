"""The real programs take what is rendered for them, come up with it, and do what it asks for."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, get_args

import pytest

from kharden.spec.policy import AdmissionPlugin
from tests.unit.plan.planner import Planner
from tests.unit.ports import free_port

from .control_plane import READ, ControlPlane, Process, get_unverified, placed
from .stand_ins import GOLDEN, planned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kharden.plan.model import ClusterPlan

    from .programs import Programs

    Kubectl = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.programs

PLAINTEXT = "a password that stays at home"


@pytest.fixture(scope="module")
def plan() -> ClusterPlan:
    return planned(GOLDEN / "lab" / "cluster.yaml")


@pytest.fixture(scope="module")
def control_plane(plan: ClusterPlan, programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> ControlPlane:
    folder = tmp_path_factory.mktemp("control-plane")
    return placed(plan, programs, folder)


@pytest.fixture(scope="module")
def etcd(control_plane: ControlPlane) -> Iterator[Process]:
    with control_plane.run(control_plane.etcd(), "etcd") as process:
        process.wait_for_words("ready to serve client requests")
        yield process


@pytest.fixture(scope="module")
def api_server(control_plane: ControlPlane, etcd: Process) -> Iterator[Process]:
    assert etcd.program.poll() is None
    with control_plane.run(control_plane.api_server(), "kube-apiserver") as process:
        process.wait_for(lambda: control_plane.get("/readyz")[0] == 200)
        yield process


@pytest.fixture(scope="module")
def kubectl(control_plane: ControlPlane, api_server: Process, programs: Programs) -> Kubectl:
    assert api_server.program.poll() is None
    folder = control_plane.root.parent

    def run(*arguments: str, text: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [programs["kubectl"], f"--kubeconfig={folder / 'kubeconfig'}", *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={"HOME": str(folder), "PATH": os.defpath},
            cwd=folder,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return run


# --- what it takes


BROKEN = [
    ("authentication.yaml", "path: /livez", "paths: /livez", "authentication configuration"),
    ("audit-policy.yaml", "level: Metadata", "level: Metadatum", "audit policy"),
    ("encryption.yaml", '"secret"', '"secrets"', "encryption provider configuration"),
    ("admission.yaml", '"type"', '"kind"', "EventRateLimit"),
    ("admission.yaml", "enforce-version", "enforced-version", "PodSecurity"),
]


@pytest.mark.parametrize(("name", "before", "after", "about"), BROKEN)
def test_the_api_server_reads_every_file_and_refuses_a_broken_one(  # noqa: PLR0917  # parameters
    control_plane: ControlPlane, etcd: Process, name: str, before: str, after: str, about: str
) -> None:
    assert etcd.program.poll() is None
    path = control_plane.path(f"/etc/kharden/api/{name}")
    whole = path.read_text()
    assert before in whole
    path.write_text(whole.replace(before, after))
    try:
        with control_plane.run(control_plane.api_server(), "broken") as process:
            assert process.program.wait(60) != 0
            (complaint,) = [line for line in process.said.splitlines() if "command failed" in line]
    finally:
        path.write_text(whole)
    assert about in complaint


def test_a_flag_that_it_does_not_know_is_refused(control_plane: ControlPlane) -> None:
    with control_plane.run([*control_plane.api_server(), "--audit-log-age=3"], "broken") as process:
        assert process.program.wait(60) != 0
        assert "unknown flag" in process.said


def test_other_answers_in_cluster_yaml_are_taken_too(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "inventories/test").mkdir(parents=True)
    plan = Planner(tmp_path / "inventories/test")(
        networks="IPv4 and IPv6",
        pki={"algorithm": "RSA-2048"},
        encryption={"provider": "aescbc", "resources": ["secrets", "configmaps", "widgets.example.com"]},
        audit={"maxAgeDays": 90, "maxBackups": 20, "maxSizeMB": 200},
        preset="stig",
        admission={
            "podSecurity": "baseline",
            "podSecurityExemptions": {"namespaces": ["a"], "usernames": ["b@c"], "runtimeClasses": ["d"]},
            # All that may be added; an API server refuses a plugin that its version doesn't know.
            "plugins": list(get_args(AdmissionPlugin)),
            "eventRateLimits": [{"type": "User", "qps": 10, "burst": 20}],
        },
        waivers=[
            {"control": control, "owner": "o", "reason": "r", "expires": "2099-12-31"}
            for control in ("pod-security-enforced", "pod-security-everywhere")
        ],
    )
    other = placed(plan, programs, tmp_path)
    with other.run(other.etcd(), "etcd") as etcd:
        etcd.wait_for_words("ready to serve client requests")
        with other.run(other.api_server(), "kube-apiserver") as process:
            process.wait_for_words(READ)


# --- what comes of it


def test_probes_get_through_and_nobody_else_does(control_plane: ControlPlane, api_server: Process) -> None:
    assert api_server.program.poll() is None
    for path in ("/livez", "/readyz", "/healthz"):
        assert control_plane.get(path) == (200, b"ok")
    for path in ("/version", "/api", "/metrics", "/livez/ping", "/debug/pprof/"):
        assert control_plane.get(path)[0] == 401


def test_the_clusters_own_manifests_are_taken_and_a_second_time_change_nothing(kubectl: Kubectl) -> None:
    for name in ("namespaces.yaml", "service-accounts.yaml"):
        arguments = ("--server-side", "--field-manager=kharden", f"--filename={name}")
        kubectl("apply", *arguments)
        assert not kubectl("diff", *arguments).stdout


def test_a_pod_that_asks_for_more_than_the_namespace_gives_is_refused(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "--filename=namespaces.yaml", "--filename=service-accounts.yaml")
    pod: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {
            "hostPID": True,
            "containers": [{"name": "it", "image": "it", "securityContext": {"privileged": True}}],
        },
    }
    # A namespace that somebody makes without a label gets what the API server itself has as its default.
    kubectl("create", "namespace", "fresh")
    kubectl("create", "serviceaccount", "default", "--namespace=fresh")
    for namespace in ("default", "fresh"):
        pod["metadata"] = {"name": "it", "namespace": namespace}
        denied = kubectl("create", "--dry-run=server", "--filename=-", text=json.dumps(pod), status=1)
        assert 'violates PodSecurity "restricted:v1.36"' in denied.stderr
    pod["metadata"] = {"name": "it", "namespace": "kube-system"}
    assert "created" in kubectl("create", "--dry-run=server", "--filename=-", text=json.dumps(pod)).stdout


def test_a_secret_is_encrypted_in_etcd_and_kept_out_of_the_audit_log(
    kubectl: Kubectl, control_plane: ControlPlane, programs: Programs
) -> None:
    kubectl("create", "secret", "generic", "kept", f"--from-literal=password={PLAINTEXT}")
    assert kubectl("get", "secret", "kept", "--output=jsonpath={.data.password}").stdout
    pki = control_plane.path("/etc/kubernetes/pki/etcd")
    stored = subprocess.run(
        [
            programs["etcdctl"],
            f"--endpoints=https://127.0.0.1:{control_plane.etcd_port}",
            f"--cacert={pki}/ca.crt",
            f"--cert={pki}/healthcheck-client.crt",
            f"--key={pki}/healthcheck-client.key",
            "get",
            "--print-value-only",
            "/registry/secrets/default/kept",
        ],
        capture_output=True,
        check=True,
    ).stdout
    assert stored.startswith(b"k8s:enc:secretbox:v1:key-")
    assert PLAINTEXT.encode() not in stored
    log = control_plane.path("/var/log/kubernetes/audit/audit.log").read_text()
    events = [json.loads(line) for line in log.splitlines()]
    about = [
        event for event in events if event.get("objectRef", {}).get("name") == "kept" and event["verb"] == "create"
    ]
    assert [(event["level"], event["objectRef"]["resource"]) for event in about] == [("Metadata", "secrets")]
    assert PLAINTEXT not in log


@pytest.mark.parametrize("name", ["kube-controller-manager", "kube-scheduler"])
def test_the_other_components_come_up_with_their_flags_and_kubeconfigs(
    control_plane: ControlPlane, api_server: Process, name: str
) -> None:
    assert api_server.program.poll() is None
    port = free_port()
    with control_plane.run(control_plane.component(name, port), name) as process:
        process.wait_for(lambda: get_unverified(port, "/healthz") == (200, b"ok"))
        process.wait_for_words("Successfully acquired lease")
        assert get_unverified(port, "/metrics")[0] in {401, 403}
        assert get_unverified(port, "/debug/pprof/")[0] in {401, 403, 404}
