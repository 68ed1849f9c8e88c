"""What holds for every file that is rendered, whatever is in it."""

from __future__ import annotations

import base64
import posixpath
from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from kharden.controls import CONTROLS
from kharden.pki.tree import AUTHORITIES, SUPER_ADMIN
from kharden.plan.model import NetworkPort
from kharden.render.output import write
from playbooks.module_utils.kharden.restarts import is_restart

from .stand_ins import CANARY, GOLDEN, planned, rendered, stand_ins, supplied

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kharden.plan.model import ClusterPlan
    from kharden.render.artefact import Artefact, ByKubeadm, Folder, NodeFiles, Program
    from kharden.render.cluster import Build
    from kharden.seal import Identities

# Everything that is placed lies below one of these, and nothing of Debian's own does.
ROOTS = (
    *(
        "/etc/cni/net.d",
        "/etc/containerd",
        "/etc/haproxy",
        "/etc/kharden",
        "/etc/kubernetes",
        "/etc/ssh/sshd_config.d",
        "/etc/systemd/journald.conf.d",
        "/etc/systemd/system",
    ),
    *("/etc/modules-load.d", "/etc/nftables.d", "/etc/sysctl.d", "/etc/sysusers.d", "/usr/local/bin", "/opt/cni/bin"),
    *("/var/lib/kharden", "/var/lib/etcd", "/var/log/kubernetes"),
)


def in_base64(content: bytes) -> list[bytes]:
    """What is found of `content` in the base64 of anything that holds it, for each of the three alignments."""
    return [base64.b64encode(bytes(skipped) + content)[4:-4] for skipped in range(3)]


def holds(content: bytes, secret: bytes) -> bool:
    return secret in content or any(form in content for form in in_base64(secret))


def all_of(node: NodeFiles) -> list[Folder | Program | Artefact | ByKubeadm]:
    return [*node.folders, *node.programs, *node.files, *node.by_kubeadm]


def files_of(build: Build) -> list[tuple[NodeFiles, Artefact]]:
    return [(node, file) for node in build.nodes for file in node.files]


# --- where things lie


def test_every_path_is_absolute_plain_and_below_a_known_root(build: Build) -> None:
    for node in build.nodes:
        for item in all_of(node):
            assert item.path == posixpath.normpath(item.path)
            known = item.path.startswith(tuple(f"{root}/" for root in ROOTS)) or item.path in ROOTS
            assert known or item.path.startswith("/var/lib/kubelet/"), item.path


def test_no_path_stands_twice(build: Build) -> None:
    for node in build.nodes:
        paths = [item.path for item in all_of(node)]
        assert len(paths) == len(set(paths))


def test_a_folder_comes_before_what_lies_in_it(build: Build) -> None:
    for node in build.nodes:
        paths = [folder.path for folder in node.folders]
        for number, path in enumerate(paths):
            assert not any(later == posixpath.dirname(path) for later in paths[number:])


def test_every_restart_is_one_that_a_node_knows(build: Build) -> None:
    for node in build.nodes:
        named = [(item.path, item.restarts) for item in node.programs] + [
            (item.path, item.restarts) for item in node.files
        ]
        assert all(is_restart(restart) for _, restarts in named for restart in restarts), named


def test_every_control_that_is_named_is_in_the_catalogue(build: Build) -> None:
    known = {control.id for control in CONTROLS}
    for node in build.nodes:
        for item in all_of(node):
            assert set(item.controls) <= known, item.path


# --- who may read them


def test_public_files_can_be_changed_by_nobody_but_their_owner(build: Build) -> None:
    for _, file in files_of(build):
        assert file.mode & 0o7777 & ~0o644 == 0, file.path
    for node in build.nodes:
        assert all(folder.mode & ~0o755 == 0 for folder in node.folders)


def test_sensitive_files_can_be_read_by_nobody_but_their_owner(build: Build) -> None:
    sensitive = [file for _, file in files_of(build) if file.sensitive]
    assert sensitive
    for file in sensitive:
        assert file.mode in {0o600, 0o400}, file.path


def test_only_etcd_and_root_own_anything(build: Build) -> None:
    for node in build.nodes:
        owned: list[Folder | Artefact] = [*node.folders, *node.files]
        for item in owned:
            own = item.path.startswith(("/etc/kharden/etcd", "/var/lib/etcd"))
            assert (item.owner, item.group) == (("979", "979") if own else ("root", "root")), item.path


def test_exactly_what_holds_a_secret_is_sealed(build: Build) -> None:
    for _, file in files_of(build):
        # Encryption keys are 32 bytes, so the canary in them is a part of it.
        secret = any(holds(file.content, part) for part in (CANARY, CANARY[:16], CANARY[-16:]))
        assert secret == file.sensitive, file.path


def test_each_secret_is_sealed_for_its_own_store(build: Build) -> None:
    stores: dict[str, set[str]] = {}
    for _, file in files_of(build):
        if file.store:
            stores.setdefault(file.store, set()).add(file.path)
    assert stores["roots"] == {"/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/sa.key"}
    assert stores["data"] == {"/etc/kharden/api/encryption.yaml"}
    kubeconfigs = {f"/etc/kubernetes/{name}.conf" for name in ("admin", "controller-manager", "scheduler")}
    assert kubeconfigs < stores["leaves"]
    assert all(path.endswith(".key") for path in stores["leaves"] - kubeconfigs)


def test_no_byte_of_a_secret_is_in_a_file_that_is_written_openly(
    build: Build, identities: Identities, tmp_path: Path
) -> None:
    write(build, tmp_path, identities.recipients)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len([path for path in written if path.suffix == ".age"]) == sum(
        file.sensitive for _, file in files_of(build)
    )
    for path in written:
        assert not any(holds(path.read_bytes(), part) for part in (CANARY, CANARY[:16], CANARY[-16:])), path


def test_a_canary_would_be_found(build: Build) -> None:
    admin = next(file for _, file in files_of(build) if file.path == "/etc/kubernetes/admin.conf")
    assert CANARY not in admin.content
    assert holds(admin.content, CANARY)


# --- who gets them


def test_a_worker_gets_no_key(build: Build) -> None:
    workers = [node for node in build.nodes if node.node.startswith("w")]
    assert workers
    for node in workers:
        for file in node.files:
            assert not file.sensitive
            assert b"PRIVATE KEY" not in file.content
            assert not file.path.endswith(".key")
        assert not any("etcd" in item.path for item in all_of(node))


def test_no_node_gets_a_key_that_belongs_elsewhere(plan: ClusterPlan) -> None:
    secrets = stand_ins(plan)
    roots = secrets.roots.open()
    kept_away = [roots.authorities[row.name].key for row in AUTHORITIES if not row.key_on_nodes]
    kept_away.append(roots.super_admin.key)
    assert SUPER_ADMIN.organizations == ("system:masters",)
    for node in rendered(plan, secrets).nodes:
        others = [pair.key for name, own in secrets.leaves.nodes.items() if name != node.node for pair in own.values()]
        for file in node.files:
            assert not any(holds(file.content, key) for key in (*kept_away, *others)), (node.node, file.path)


def test_keys_are_not_shown(build: Build) -> None:
    shown = repr(build)
    assert not any(holds(shown.encode(), part) for part in (CANARY, CANARY[:16], CANARY[-16:]))


# --- the same input gives the same bytes, another one changes what it should and nothing else


def contents(build: Build) -> dict[str, bytes]:
    found = {f"{node.node}:{file.path}": file.content for node, file in files_of(build)}
    found |= {f"cluster:{item.name}": item.content for item in build.cluster}
    return found | {f"ansible:{name}": content for name, content in build.ansible.items()}


def changed(before: Build, after: Build) -> set[str]:
    old, new = contents(before), contents(after)
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def test_the_same_input_gives_the_same_bytes(case: str, build: Build, identities: Identities, tmp_path: Path) -> None:
    again = rendered(planned(GOLDEN / case / "cluster.yaml"))
    assert contents(again) == contents(build)
    for name, one in (("first", build), ("second", again)):
        write(one, tmp_path / name, identities.recipients)
    manifests = {(tmp_path / name / "manifest.json").read_bytes() for name in ("first", "second")}
    assert len(manifests) == 1


INIT = "/etc/kharden/kubeadm/init.yaml"
UNIT = "/etc/systemd/system/etcd.service"
# Of control planes, of workers, and of machines of etcd's own.
Change = tuple[str, "Callable[[ClusterPlan], ClusterPlan]", set[str], set[str], set[str]]
CHANGES: tuple[Change, ...] = (
    (
        "a limit of processes",
        lambda plan: replace(plan, kubelet=replace(plan.kubelet, pod_pids_limit=77)),
        {INIT},
        {INIT},
        set(),
    ),
    (
        "the audit log's age",
        lambda plan: replace(plan, audit=replace(plan.audit, max_age_days=7)),
        {INIT},
        {INIT},
        set(),
    ),
    ("suites", lambda plan: replace(plan, tls_suites=plan.tls_suites[:1]), {INIT}, {INIT}, {UNIT}),
    (
        "the keys' algorithm",
        lambda plan: replace(plan, pki=replace(plan.pki, algorithm="ECDSA-P384")),
        {INIT},
        {INIT},
        set(),
    ),
    (
        "rate limits",
        lambda plan: replace(plan, admission=replace(plan.admission, event_rate_limits=())),
        {"/etc/kharden/api/admission.yaml"},
        set(),
        set(),
    ),
    (
        "layers of the audit log",
        lambda plan: replace(plan, audit=replace(plan.audit, contents=not plan.audit.contents)),
        {"/etc/kharden/api/audit-policy.yaml"},
        set(),
        set(),
    ),
    (
        "what is encrypted",
        lambda plan: replace(plan, encryption=replace(plan.encryption, resources=("secrets",))),
        {"/etc/kharden/api/encryption.yaml"},
        set(),
        set(),
    ),
    (
        "the Pod Security Standard",
        lambda plan: replace(plan, admission=replace(plan.admission, pod_security="privileged")),
        {"/etc/kharden/api/admission.yaml"},
        set(),
        set(),
    ),
    (
        "ports",
        lambda plan: replace(plan, network=replace(plan.network, ports=(NetworkPort(9100, "tcp", "pods"),))),
        {"/etc/nftables.d/kharden.nft"},
        {"/etc/nftables.d/kharden.nft"},
        set(),
    ),
    (
        "access",
        lambda plan: replace(plan, access=replace(plan.access, api=(ip_network("192.0.2.128/25"),))),
        {"/etc/nftables.d/kharden.nft"},
        {"/etc/nftables.d/kharden.nft"},
        set(),
    ),
)


@pytest.mark.parametrize(
    ("change", "control_plane", "worker", "etcd"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES]
)
def test_a_change_of_the_plan_reaches_its_files_and_no_other(
    plan: ClusterPlan,
    change: Callable[[ClusterPlan], ClusterPlan],
    control_plane: set[str],
    worker: set[str],
    etcd: set[str],
) -> None:
    found = changed(rendered(plan), rendered(change(plan)))
    wanted = {f"{node.name}:{path}" for node in plan.control_planes for path in control_plane if path[0] == "/"}
    wanted |= {f"{node.name}:{path}" for node in plan.workers for path in worker if path[0] == "/"}
    wanted |= {f"{node.name}:{path}" for node in plan.etcd_machines for path in etcd}
    assert found == wanted | {f"cluster:{path}" for path in control_plane if path[0] != "/"}


def test_another_runtime_changes_one_nodes_runtime(plan: ClusterPlan) -> None:
    for last in {plan.workers[-1], plan.nodes[-1]}:
        other = replace(
            last, runtime=replace(last.runtime, file_limit=99, restrict_oom_score=not last.runtime.restrict_oom_score)
        )
        nodes = tuple(other if node == last else node for node in plan.nodes)
        found = changed(rendered(plan), rendered(replace(plan, nodes=nodes)))
        containerd = {"/etc/containerd/config.toml", "/etc/systemd/system/containerd.service"}
        assert found == {f"{last.name}:{path}" for path in (containerd if last.kubelet else {UNIT})}


def test_one_node_more_changes_only_routes_and_rules_on_the_others(
    case: str, plan: ClusterPlan, tmp_path: Path
) -> None:
    text = (GOLDEN / case / "cluster.yaml").read_text(encoding="utf-8")
    worker = text[text.index("    - name: w1\n") : text.index("  endpoint:\n" if case == "ha" else "  network:\n")]
    worker = worker.partition("    - name: w2\n")[0].partition("    - name: etcd1\n")[0]
    new = worker.replace("w1", "w9").replace("::21", "::29").replace(".21", ".29").replace("ISEh", "KSkp")
    path = tmp_path / case / "cluster.yaml"
    path.parent.mkdir()
    path.write_text(text.replace(worker, worker + new), encoding="utf-8")
    found = changed(rendered(plan), rendered(planned(path)))
    routes = {f"{node.name}:/etc/systemd/system/kharden-routes.service" for node in plan.kubelets}
    ansible = {"ansible:hosts.yaml", "ansible:known_hosts", "ansible:ssh_config"}
    # A worker more is nobody whom a machine of etcd's own lets in.
    rules = {f"{node.name}:/etc/nftables.d/kharden.nft" for node in plan.kubelets}
    assert {name for name in found if not name.startswith("w9:")} == routes | rules | ansible | {"cluster:nodes.yaml"}


def test_a_new_key_is_a_new_file_and_a_new_digest(plan: ClusterPlan) -> None:
    secrets = stand_ins(plan)
    first = secrets.data.encryption_keys[0]
    turned = replace(secrets, data=replace(secrets.data, encryption_keys=(first,)))
    found = changed(rendered(plan, secrets), rendered(plan, turned))
    assert found == {f"{node.name}:/etc/kharden/api/encryption.yaml" for node in plan.control_planes}


def test_other_images_reach_the_configurations_that_name_them(plan: ClusterPlan) -> None:
    supply = supplied(plan.kubernetes)
    images = tuple(
        replace(image, reference=image.reference.replace("pause:3.10.2", "pause:3.11")) for image in supply.images
    )
    found = changed(rendered(plan), rendered(plan, supply=replace(supply, images=images)))
    assert found == {f"{node.name}:/etc/containerd/config.toml" for node in plan.kubelets} | {"ansible:hosts.yaml"}
