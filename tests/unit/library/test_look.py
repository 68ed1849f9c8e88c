"""The module look: whether there is anything to do, found by the other modules' own code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import LIBRARY, MODULE_UTILS, Result, pack, run_module

if TYPE_CHECKING:
    from pathlib import Path

    from playbooks.library import converge, look
    from playbooks.module_utils.kharden import health

    from .conftest import Node
else:
    from ansible.module_utils import converge, look
    from ansible.module_utils.kharden import health


def looked(**values: object) -> Result:
    return run_module("look", {"expectations": {}, "payload": pack([]), **values})


def test_what_is_in_the_way_is_told_before_anything_is_looked_at() -> None:
    result = looked(expectations={"clock": int(time.time()) + 3600, "memory_mib": 1 << 40}, payload="no payload")
    assert result.status == 1
    assert len(result.values["problems"]) == 2
    assert result.values["msg"].startswith("nothing was changed, 2 in the way: ")


def test_a_machine_of_no_cluster_has_something_to_do() -> None:
    result = looked(payload="no payload")  # nothing more has to be looked at
    assert result.values["busy"] == "it is no member of the cluster yet"
    assert (result.values["member"], result.values["changed"]) == (False, False)


def test_ansible_sends_the_other_modules_with_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "adhoc", "localhost", "--connection=local"),
            *(f"--module-path={LIBRARY}", "--module-name=look"),
            f"--args={json.dumps({'expectations': {}, 'payload': pack([])})}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={
            **os.environ,
            "ANSIBLE_MODULE_UTILS": f"{MODULE_UTILS}:{LIBRARY}",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": str(tmp_path / "ansible"),
            "ANSIBLE_REMOTE_TMP": str(tmp_path / "ansible-tmp"),
        },
    )
    assert "localhost | SUCCESS" in done.stdout, done.stdout + done.stderr
    assert '"busy": "it is no member of the cluster yet"' in done.stdout


# --- files


def unsettled(node: Node, *files: dict[str, Any]) -> str:
    return converge.unsettled({"trust_times": False, **node.arguments(*files)})


def test_files_are_settled_only_where_a_run_would_write_nothing_at_all(node: Node) -> None:
    files = [node.file("/etc/a", "a"), node.file("/etc/b", "b"), node.folder("/etc/c")]
    assert unsettled(node, *files) == f"{node.path('/etc')} and 3 more"
    node.converge(*files)
    assert unsettled(node, *files) == ""
    assert unsettled(node, *files[:1]) == f"{node.path('/etc/c')} and 1 more"
    node.path("/etc/a").chmod(0o644)
    assert unsettled(node, *files) == str(node.path("/etc/a"))


def test_what_a_run_that_was_cut_off_has_left_is_not_settled(node: Node) -> None:
    file = node.file("/etc/a", "a")
    node.converge(file)
    record = node.record.read_text()
    temporary = node.put("/etc/.a.kharden-new", "")
    assert unsettled(node, file) == str(temporary)
    temporary.unlink()
    node.record.write_text(record.replace('"kind"', f'"previous": "{"0" * 64}", "kind"'))
    assert unsettled(node, file) == str(node.record)


def test_a_file_that_stays_is_named_by_the_run_that_forgets_it(node: Node) -> None:
    node.converge(node.file("/etc/a", "a"))
    node.put("/etc/a", "mine now")
    assert unsettled(node) == str(node.record)
    node.converge()
    assert unsettled(node) == ""


# --- the cluster's health

READY = {"kind": "Node", "metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
PROXY = {
    "kind": "DaemonSet",
    "metadata": {"name": "kube-proxy", "generation": 2},
    "status": {
        "observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2,
    },
}  # fmt: skip
DNS = {
    "kind": "Deployment",
    "metadata": {"name": "coredns", "generation": 1},
    "spec": {"replicas": 2},
    "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
}
REQUEST: dict[str, Any] = {
    "kind": "CertificateSigningRequest",
    "metadata": {"name": "csr-1"},
    "spec": {"signerName": "kubernetes.io/kubelet-serving"},
    "status": {"conditions": [{"type": "Approved"}]},
}


def changed(item: dict[str, Any], part: str, **values: object) -> dict[str, Any]:
    return item | {part: item[part] | values}


def unwell(*items: dict[str, Any]) -> list[str]:
    return health.unwell(items, ["n1"], ["DaemonSet/kube-proxy", "Deployment/coredns"])


def test_a_cluster_that_is_well() -> None:
    assert unwell(READY, PROXY, DNS, REQUEST) == []


@pytest.mark.parametrize(
    ("items", "name"),
    [
        ((PROXY, DNS), "n1"),
        ((changed(READY, "status", conditions=[{"type": "Ready", "status": "Unknown"}]), PROXY, DNS), "n1"),
        ((changed(READY, "status", conditions=None), PROXY, DNS), "n1"),
        ((READY, DNS), "DaemonSet/kube-proxy"),
        ((READY, changed(PROXY, "metadata", generation=3), DNS), "DaemonSet/kube-proxy"),
        ((READY, changed(PROXY, "status", updatedNumberScheduled=1), DNS), "DaemonSet/kube-proxy"),
        ((READY, changed(PROXY, "status", numberAvailable=1), DNS), "DaemonSet/kube-proxy"),
        ((READY, PROXY), "Deployment/coredns"),
        ((READY, PROXY, changed(DNS, "status", updatedReplicas=1)), "Deployment/coredns"),
        ((READY, PROXY, changed(DNS, "status", replicas=3)), "Deployment/coredns"),
        ((READY, PROXY, changed(DNS, "status", availableReplicas=1)), "Deployment/coredns"),
        ((READY, PROXY, DNS, changed(REQUEST, "status", conditions=None)), "csr-1"),
    ],
)
def test_what_is_not_well_is_named(items: tuple[dict[str, Any], ...], name: str) -> None:
    assert unwell(*items) == [name]


def test_requests_to_other_signers_are_others_business() -> None:
    request = {**REQUEST, "spec": {"signerName": "example.org/own"}, "status": {}}
    assert unwell(READY, PROXY, DNS, request) == []


# --- beside the others


def test_a_part_runs_beside_the_others_and_can_be_ended() -> None:
    begun = time.monotonic()
    parts = [look.Apart(lambda: ["", "a note"]), look.Apart(lambda: [str(1 // 0)])]
    assert parts[0].result() == ["", "a note"]
    assert parts[1].result() == ["it can't be looked at"]
    look.Apart(_forever).stop()
    assert time.monotonic() - begun < 60


def _forever() -> list[str]:
    time.sleep(600)
    return []
