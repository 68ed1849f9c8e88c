"""A module that fails tells what it had done by then, no more and no less."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playbooks.library import etcd_member, kubeadm, objects, services
    from playbooks.module_utils.kharden import files, kernel, kubeadm_phases, membership, static_pods, units
    from playbooks.module_utils.kharden.errors import NodeError

    from .conftest import Node
else:
    from ansible.module_utils import etcd_member, kubeadm, objects, services
    from ansible.module_utils.kharden import files, kernel, kubeadm_phases, membership, static_pods, units
    from ansible.module_utils.kharden.errors import NodeError

REFUSED = "it is so"


def refuse(*_arguments: object) -> None:
    raise NodeError(REFUSED)


def defaults(of: dict[str, Any], **values: object) -> dict[str, Any]:
    return {name: option.get("default") for name, option in of.items()} | values


def test_files_that_were_placed_before_one_was_refused(node: Node) -> None:
    first = node.file("/etc/made/a.conf", "a\n")
    failed = node.converge(first, node.file("/etc/b.conf", "b\n", validate=["/bin/false", "%s"]))
    assert failed.status == 1
    folder = Path(first["path"]).parent
    assert failed.actions == dict.fromkeys((str(folder.parent), str(folder), first["path"]), "create")
    again = node.converge(first, node.file("/etc/b.conf", "b\n", validate=["/bin/false", "%s"]))
    assert (again.status, again.actions) == (1, {})


class Systemd:
    """The edge: units that run, of which one doesn't restart."""

    def __init__(self) -> None:
        self.started = {"a.service": 1, "b.service": 1, "etcd.service": 1}

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        assert timeout
        names = argv[argv.index("--") + 1 :] if "--" in argv else []
        if "show" in argv:
            shown = "LoadState=loaded\nActiveState=active\nActiveEnterTimestampMonotonic={}\n"
            return 0, "\n".join(shown.format(self.started[name]) for name in names)
        if names == ["b.service"]:
            return 1, "it can't"
        self.started |= {name: self.started[name] + 1 for name in names}
        return 0, ""


def serving(node: Node, *asked: str) -> services.Services:
    node.state.mkdir(exist_ok=True)
    given = {"restarts": list(asked), "pending": str(node.pending), "kernel": False, "steady": 0.0}
    return services.Services(defaults(services.ARGUMENTS) | given, plan=False)


def test_units_that_were_restarted_before_one_failed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "run", Systemd().run)
    found = serving(node, "a.service", "b.service")
    with pytest.raises(NodeError):
        found.run()
    told = found.so_far()
    assert [one["name"] for one in told["actions"]] == ["a.service", "b.service"]
    assert [one["name"] for one in told["restarting"]] == ["a.service", "b.service"]


def test_a_restart_that_its_gate_forbids_was_none(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gate:
        before_restart = staticmethod(refuse)

    monkeypatch.setattr(units, "run", Systemd().run)
    monkeypatch.setattr(static_pods, "running", lambda _name: frozenset({"a process"}))
    for asked in ("etcd.service", "static-pod/kube-apiserver"):
        found = serving(node, asked)
        monkeypatch.setattr(found, "quorum", Gate())
        with pytest.raises(NodeError, match=REFUSED):
            found.run()
        assert found.so_far() == {"actions": [], "restarted": [], "restarting": []}


def test_a_module_that_the_kernel_lacks_was_not_loaded(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "modules"
    listed.write_text("no_such_module\n")
    monkeypatch.setattr(kernel, "MODULES_FILE", str(listed))
    monkeypatch.setattr(kernel, "load", refuse)
    found = serving(node)
    found.params["kernel"] = True
    with pytest.raises(NodeError, match=REFUSED):
        found.run()
    assert found.actions == []


def test_settings_of_a_kubelet_that_were_written_before_one_was_not(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def written(*_arguments: object) -> Iterator[dict[str, bytes]]:
        yield {"config.yaml": b"new\n", "kubeadm-flags.env": b"new\n"}

    monkeypatch.setattr(kubeadm_phases, "written", written)
    node.state.mkdir()
    (tmp_path / "config.yaml").write_text("old\n")
    Path(files.temporary(str(tmp_path / "kubeadm-flags.env"))).mkdir()
    given = {"phase": "kubelet-config", "kubelet_folder": str(tmp_path), "pending": str(node.pending)}
    found = kubeadm.Comparison(defaults(kubeadm.ARGUMENTS) | given, plan=False)
    with pytest.raises(NodeError):
        found.run()
    assert [one["path"] for one in found.so_far()["changes"]] == [str(tmp_path / "config.yaml")]


@pytest.mark.parametrize("gate_opens", [True, False])
def test_a_manifest_that_was_put_back_is_no_change_and_what_restarted_is_told(
    node: Node,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gate_opens: bool,  # noqa: FBT001  # a parameter of pytest's
) -> None:
    @contextmanager
    def written(*_arguments: object) -> Iterator[dict[str, bytes]]:
        yield {"kube-apiserver.yaml": b"new\n"}

    class Gate:
        before_restart = staticmethod(lambda _name: None if gate_opens else refuse())

    monkeypatch.setattr(kubeadm_phases, "written", written)
    monkeypatch.setattr(static_pods, "running", lambda _name: frozenset({"a process"}))
    monkeypatch.setattr(static_pods, "await_new", refuse)
    node.state.mkdir()
    manifest = tmp_path / "kube-apiserver.yaml"
    manifest.write_text("old\n")
    given = {"phase": "static-pods", "manifests": str(tmp_path), "pending": str(node.pending), "kubelet": ""}
    found = kubeadm.Comparison(defaults(kubeadm.ARGUMENTS) | given, plan=False)
    monkeypatch.setattr(found, "quorum", Gate())
    with pytest.raises(NodeError, match=REFUSED):
        found.run()
    assert manifest.read_text() == "old\n"
    restarting = [{"name": "static-pod/kube-apiserver", "turn": 0, "away": None}] if gate_opens else []
    assert found.so_far() == {"changes": [], "restarted": [], "restarting": restarting}


def test_objects_that_were_changed_before_the_server_refused() -> None:
    class Api:
        """The edge: a server that takes taints and no object."""

        def found(self, _wanted: object) -> dict[str, Any]:
            default = {"kind": "Namespace", "metadata": {"name": "default"}}
            w1 = {"kind": "Node", "metadata": {"name": "w1"}, "spec": {}}
            return {"Node//w1": w1, "Namespace//default": default}

        def applied(self, items: list[dict[str, Any]], *, dry: bool) -> dict[str, Any]:
            if not dry:
                raise NodeError(REFUSED)
            return {f"{item['kind']}//{item['metadata']['name']}": item for item in items}

        def patch_node(self, _name: str, _patch: object) -> None:
            pass

        def managed(self, _kinds: object) -> dict[str, Any]:
            return {}

        def join_tokens(self) -> list[Any]:
            return []

    wanted = [
        {"kind": "Node", "metadata": {"name": "w1", "labels": {"a": "b"}}, "spec": {"taints": [taint("NoSchedule")]}},
    ]
    found = objects.Comparison(Api(), wanted, [])  # type: ignore[arg-type]  # as much of it as is asked
    with pytest.raises(NodeError, match=REFUSED):
        found.run(plan=False)
    assert len(found.changes) == 2
    assert [one["path"] for one in found.so_far()] == ["Node//w1: taints"]


def taint(effect: str) -> dict[str, str]:
    return {"key": "example.org/a", "effect": effect}


def test_a_member_that_could_not_be_removed_was_not_and_nothing_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Etcd:
        def __init__(self, _clients: object) -> None:
            self.remove = refuse

    monkeypatch.setattr(membership, "Etcd", Etcd)
    monkeypatch.setattr(membership.Membership, "stale", lambda _self: "etcd2")
    named = {name: f"https://{name}:1" for name in ("etcd1", "etcd2")}
    members = [{"name": name, "peer": url, "client": url} for name, url in named.items()]
    asked = {"node": "etcd1", "members": members, "cluster": "c", "state": "joined", "data": str(tmp_path)}
    actions: list[dict[str, str]] = []
    with pytest.raises(NodeError, match=REFUSED):
        etcd_member.become(defaults(etcd_member.ARGUMENTS) | asked, actions, plan=False)
    assert actions == []
