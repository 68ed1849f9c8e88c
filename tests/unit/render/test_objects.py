"""The module `objects` on a real API server: what is rendered for the cluster is placed, kept, and pruned again."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kharden.render.manifests import cluster_manifests
from tests.unit.library.conftest import Result, run_module

from .control_plane import placed
from .stand_ins import GOLDEN, planned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .programs import Programs

pytestmark = pytest.mark.programs

Object = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """An API server with nodes that nobody runs; `kubectl` is a program and its kubeconfig."""

    folder: Path
    kubectl: tuple[str, str]

    def run(self, *arguments: str, given: object = None) -> str:
        done = subprocess.run(
            [self.kubectl[0], f"--kubeconfig={self.kubectl[1]}", *arguments],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={"HOME": str(self.folder), "PATH": os.defpath},
        )
        assert not done.returncode, done.stderr
        return done.stdout

    def get(self, *arguments: str) -> Object:
        found: Object = json.loads(self.run("get", *arguments, "--output=json"))
        return found

    def names(self, kind: str, namespace: str) -> set[str]:
        return {item["metadata"]["name"] for item in self.get(kind, f"--namespace={namespace}")["items"]}

    def versions(self) -> dict[str, str]:
        kinds = "namespaces,nodes,serviceaccounts,networkpolicies,resourcequotas,limitranges,configmaps"
        items = self.get(kinds, "--all-namespaces")["items"]
        return {
            f"{item['kind']} {item['metadata'].get('namespace')} {item['metadata']['name']}": item["metadata"][
                "resourceVersion"
            ]
            for item in items
        }

    def place(self, wanted: list[Object], *, check: bool = False) -> Result:
        program, kubeconfig = self.kubectl
        arguments = {"kubectl": program, "kubeconfig": kubeconfig, "cache": str(self.folder / "cache")}
        result = run_module("objects", {"wanted": wanted, **arguments}, check=check)
        assert result.status == 0, result.printed
        return result

    def taints(self, node: str) -> list[tuple[str, str, str]]:
        """All but the one that the API server gives every node that nobody runs."""
        found = self.get("node", node)["spec"].get("taints") or []
        taints = [(one["key"], one.get("value", ""), one["effect"]) for one in found]
        return [taint for taint in taints if taint[0] != "node.kubernetes.io/not-ready"]


@pytest.fixture(scope="module")
def cluster(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("objects")
    own = placed(planned(GOLDEN / "lab" / "cluster.yaml"), programs, folder)
    with own.serving():
        yield Cluster(folder, (programs["kubectl"], str(folder / "kubeconfig")))


@pytest.fixture
def wanted(cluster: Cluster) -> list[Object]:
    """Everything of the golden cluster `ha`, whose nodes are there; with what is placed already."""
    manifests = cluster_manifests(planned(GOLDEN / "ha" / "cluster.yaml"))
    found = [document for manifest in manifests for document in yaml.safe_load_all(manifest.content)]
    for item in found:
        if item["kind"] == "Node":
            made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": item["metadata"]["name"]}}
            cluster.run("apply", "--filename=-", given=made)
    cluster.place(found)
    return found


def of(wanted: list[Object], kind: str, name: str) -> Object:
    (found,) = (item for item in wanted if item["kind"] == kind and item["metadata"]["name"] == name)
    return found


def test_an_empty_cluster_is_compared_without_a_write(programs: Programs, tmp_path: Path) -> None:
    """A namespace that isn't there yet takes no dry run of what belongs into it."""
    own = placed(planned(GOLDEN / "lab" / "cluster.yaml"), programs, tmp_path)
    manifests = cluster_manifests(planned(GOLDEN / "ha" / "cluster.yaml"))
    found = [document for manifest in manifests for document in yaml.safe_load_all(manifest.content)]
    with own.serving():
        empty = Cluster(tmp_path, (programs["kubectl"], str(tmp_path / "kubeconfig")))
        before = empty.versions()
        result = empty.place(found, check=True)
        assert empty.versions() == before
    assert result.actions["NetworkPolicy/shop/default-deny"] == "create"
    assert result.actions["Namespace//default"] == "update"
    assert "node w2 isn't in the cluster yet, so it isn't marked" in result.values["notes"]


def test_the_real_api_server_takes_everything_and_a_second_time_nothing_changes(
    cluster: Cluster, wanted: list[Object]
) -> None:
    before = cluster.versions()
    assert "NetworkPolicy shop allow-egress-3" in before
    result = cluster.place(wanted)
    assert (result.values["changed"], result.values["changes"], result.values["notes"]) == (False, [], [])
    assert cluster.versions() == before


def test_amounts_are_given_back_as_they_are_planned(cluster: Cluster, wanted: list[Object]) -> None:
    for kind in ("ResourceQuota", "LimitRange"):
        for item in (one for one in wanted if one["kind"] == kind):
            metadata = item["metadata"]
            live = cluster.get(kind.lower(), metadata["name"], f"--namespace={metadata['namespace']}")
            assert live["spec"] == item["spec"]


def test_what_somebody_changed_is_shown_and_put_back_and_what_is_others_stays(
    cluster: Cluster, wanted: list[Object]
) -> None:
    cluster.run("label", "node", "w2", "example.com/tier=front", "other.example.com/mine=1", "--overwrite")
    cluster.run("taint", "node", "w2", "example.com/draining-", "other.example.com/mine=1:NoSchedule")
    cluster.run("delete", "networkpolicy", "default-deny", "--namespace=shop")
    cluster.run(
        "patch",
        "resourcequota",
        "kharden",
        "--namespace=shop",
        "--type=merge",
        '--patch={"spec":{"hard":{"pods":"9k"}}}',
    )
    before = cluster.versions()
    seen = cluster.place(wanted, check=True)
    assert cluster.versions() == before
    assert seen.actions == {
        "NetworkPolicy/shop/default-deny": "create",
        "ResourceQuota/shop/kharden": "update",
        "Node//w2": "update",
        "Node//w2: taints": "update",
    }
    diffs = {change["path"]: change["diff"] for change in seen.values["changes"]}
    assert '-   "pods": "9k"' in diffs["ResourceQuota/shop/kharden"]
    assert '+   "pods": "80"' in diffs["ResourceQuota/shop/kharden"]
    assert diffs["Node//w2: taints"] == "+example.com/draining:NoExecute"
    assert cluster.place(wanted).actions == seen.actions
    labels = cluster.get("node", "w2")["metadata"]["labels"]
    assert (labels["example.com/tier"], labels["other.example.com/mine"]) == ("back", "1")
    assert ("other.example.com/mine", "1", "NoSchedule") in cluster.taints("w2")
    assert ("example.com/draining", "", "NoExecute") in cluster.taints("w2")
    assert not cluster.place(wanted).values["changed"]
    cluster.run("taint", "node", "w2", "other.example.com/mine-")
    cluster.run("label", "node", "w2", "other.example.com/mine-")


def test_marks_that_are_not_listed_any_more_go(cluster: Cluster, wanted: list[Object]) -> None:
    cluster.run("taint", "node", "w2", "other.example.com/mine=1:NoSchedule")
    node, record = of(wanted, "Node", "w2"), of(wanted, "ConfigMap", "kharden-taints")
    taint = node["spec"]["taints"].pop()
    assert taint["key"] == "example.com/draining"
    del node["metadata"]["labels"]["example.com/tier"]
    record["data"]["w2"] = '["node-restriction.kubernetes.io/pool=vault:NoSchedule"]'
    cluster.place(wanted)
    assert "example.com/tier" not in cluster.get("node", "w2")["metadata"]["labels"]
    assert cluster.taints("w2") == [
        ("other.example.com/mine", "1", "NoSchedule"),
        ("node-restriction.kubernetes.io/pool", "vault", "NoSchedule"),
    ]
    cluster.run("taint", "node", "w2", "other.example.com/mine-")


def test_a_record_on_the_node_itself_would_count_for_nothing(cluster: Cluster, wanted: list[Object]) -> None:
    """A kubelet can write to its own Node: it must not have others' taints taken away."""
    cluster.run("taint", "node", "w1", "other.example.com/quarantine=1:NoSchedule")
    cluster.run("annotate", "node", "w1", 'kharden.dev/taints=["other.example.com/quarantine=1:NoSchedule"]')
    assert not cluster.place(wanted).values["changed"]
    assert cluster.taints("w1") == [("other.example.com/quarantine", "1", "NoSchedule")]
    cluster.run("taint", "node", "w1", "other.example.com/quarantine-")


def test_what_left_the_list_is_pruned_and_nothing_else(cluster: Cluster, wanted: list[Object]) -> None:
    policy = cluster.get("networkpolicy", "default-deny", "--namespace=shop", "--show-managed-fields")
    copy = policy | {"metadata": policy["metadata"] | {"name": "copied"}}
    for key in ("resourceVersion", "uid", "creationTimestamp"):
        del copy["metadata"][key]
    cluster.run("create", "--filename=-", given=copy)
    own = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "mine", "namespace": "shop"}}
    cluster.run("create", "--filename=-", given=own | {"spec": {"hard": {"pods": "5"}}})
    # Somebody made it anew: it has the name, the label and the annotation, but kharden didn't place it.
    anew = of(wanted, "NetworkPolicy", "allow-ingress-1")
    cluster.run("delete", "networkpolicy", "allow-ingress-1", "--namespace=shop")
    cluster.run("create", "--filename=-", given=anew)
    left = [item for item in wanted if "shop" not in {item["metadata"].get("namespace"), item["metadata"]["name"]}]
    before = cluster.versions()
    seen = cluster.place(left, check=True)
    assert cluster.versions() == before
    removed = {"default-deny", "allow-dns", "allow-ingress-2", "allow-egress-3"}
    assert seen.actions == dict.fromkeys(
        [*(f"NetworkPolicy/shop/{name}" for name in removed), "ResourceQuota/shop/kharden", "LimitRange/shop/kharden"],
        "remove",
    )
    (note,) = seen.values["notes"]
    assert note.startswith("namespace shop isn't in cluster.yaml any more and stays, with what is in it; ")
    assert cluster.place(left).actions == seen.actions
    assert cluster.names("networkpolicy", "shop") == {"copied", "allow-ingress-1"}
    assert cluster.names("resourcequota", "shop") == {"mine"}
    assert cluster.get("serviceaccount", "default", "--namespace=shop")["automountServiceAccountToken"] is False
    assert not cluster.place(left).values["changed"]
    cluster.run("delete", "networkpolicy", "copied", "--namespace=shop")
    cluster.run("delete", "resourcequota", "mine", "--namespace=shop")


def test_the_token_of_a_join_that_was_cut_off_goes_and_no_other(cluster: Cluster, wanted: list[Object]) -> None:
    for name, description in (("aaaaaa", "kharden joins w1"), ("bbbbbb", "somebody joins w1"), ("cccccc", None)):
        data = {"token-id": name, "token-secret": "0123456789abcdef"} | (
            {"description": description} if description else {}
        )
        metadata = {"name": f"bootstrap-token-{name}", "namespace": "kube-system"}
        kind = {"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token"}
        cluster.run("create", "--filename=-", given=kind | {"metadata": metadata, "stringData": data})
    seen = cluster.place(wanted, check=True)
    assert seen.actions == {"Secret/kube-system/bootstrap-token-aaaaaa": "remove"}
    assert "0123456789abcdef" not in str(seen.values)
    assert cluster.place(wanted).actions == seen.actions
    assert cluster.names("secret", "kube-system") == {"bootstrap-token-bbbbbb", "bootstrap-token-cccccc"}
    assert not cluster.place(wanted).values["changed"]
    for name in ("bbbbbb", "cccccc"):
        cluster.run("delete", "secret", f"bootstrap-token-{name}", "--namespace=kube-system")


def test_what_the_server_refuses_is_one_line_and_nothing_was_changed(cluster: Cluster, wanted: list[Object]) -> None:
    of(wanted, "NetworkPolicy", "allow-egress-3")["spec"]["egress"][0]["ports"][0]["port"] = 70000
    before = cluster.versions()
    program, kubeconfig = cluster.kubectl
    arguments = {"kubectl": program, "kubeconfig": kubeconfig, "cache": str(cluster.folder / "cache")}
    result = run_module("objects", {"wanted": wanted, **arguments})
    assert result.status == 1
    assert "allow-egress-3" in result.values["msg"]
    assert "70000" in result.values["msg"]
    assert cluster.versions() == before


def secret(**more: Any) -> Object:  # noqa: ANN401  # an object is open
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plugin", "namespace": "kube-system"}} | more


def test_of_a_secret_only_which_values_differ_is_told(cluster: Cluster, wanted: list[Object]) -> None:
    one, two, three = ("canary-one-4711", "canary-two-4712", "canary-three-4713")
    cluster.run("apply", "--filename=-", given=secret(stringData={"kept": one, "turned": two, "gone": two}))
    now = secret(stringData={"kept": one, "turned": three, "come": three})
    canaries = {form for word in (one, two, three) for form in (word, base64.b64encode(word.encode()).decode())}
    seen = cluster.place([*wanted, now], check=True)
    (change,) = seen.values["changes"]
    hidden, another = "(sensitive content, not shown)", "(sensitive content, not shown; another one)"
    assert f'+  "come": "{hidden}"' in change["diff"]
    assert f'-  "turned": "{hidden}"' in change["diff"]
    assert f'+  "turned": "{another}"' in change["diff"]
    assert "kept" not in [line[4:8] for line in change["diff"].splitlines() if line[0] in "+-"]
    # A saved plan knows by it whether somebody touched the Secret since.
    assert change["stamp"] == cluster.get("secret", "plugin", "--namespace=kube-system")["metadata"]["resourceVersion"]
    placed = cluster.place([*wanted, now])
    assert not cluster.place([*wanted, now]).values["changed"]
    cluster.run("delete", "secret", "plugin", "--namespace=kube-system")
    made = cluster.place([*wanted, now], check=True)
    assert made.actions == {"Secret/kube-system/plugin": "create"}
    for result in (seen, placed, made):
        told = json.dumps({key: value for key, value in result.values.items() if key != "invocation"})
        assert not [canary for canary in canaries if canary in told]


def test_the_servers_words_of_a_refused_secret_are_not_told(cluster: Cluster, wanted: list[Object]) -> None:
    program, kubeconfig = cluster.kubectl
    arguments = {"kubectl": program, "kubeconfig": kubeconfig, "cache": str(cluster.folder / "cache")}
    result = run_module("objects", {"wanted": [*wanted, secret(data={"key": "canary-4711!"})], **arguments})
    assert result.status == 1
    assert result.values["msg"].endswith("it failed among objects with Secrets (sensitive content, not shown)")


def test_an_object_without_a_namespace_is_in_default_and_placed_once(cluster: Cluster, wanted: list[Object]) -> None:
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plugin"}, "data": {"key": "one"}}
    assert cluster.place([*wanted, own]).actions == {"ConfigMap//plugin": "create"}
    assert not cluster.place([*wanted, own]).values["changed"]
    own["data"] = {"key": "two"}
    assert cluster.place([*wanted, own], check=True).actions == {"ConfigMap/default/plugin": "update"}
    cluster.run("delete", "configmap", "plugin", "--namespace=default")
