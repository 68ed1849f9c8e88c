from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kharden.errors import MissingError, RefusedError
from kharden.pki.contents import RootsDoor
from kharden.render.output import write
from kharden.seal import unseal
from kharden.securefile import WriteError

from .stand_ins import GOLDEN, planned, rendered, stand_ins

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kharden.plan.model import ClusterPlan
    from kharden.render.cluster import Build
    from kharden.seal import Identities, Store

KEY = "nodes/cp1/files/etc/kubernetes/pki/ca.key.age"
LEAF = "nodes/cp1/files/etc/kubernetes/pki/apiserver.key.age"
CONFIG = "nodes/cp1/files/etc/containerd/config.toml"


@pytest.fixture(scope="module")
def plan() -> ClusterPlan:
    return planned(GOLDEN / "lab" / "cluster.yaml")


@pytest.fixture(scope="module")
def build(plan: ClusterPlan) -> Build:
    return rendered(plan)


@pytest.fixture
def recipients(identities: Identities) -> Mapping[Store, tuple[str, ...]]:
    return identities.recipients


@pytest.fixture
def folder(tmp_path: Path, build: Build, recipients: Mapping[Store, tuple[str, ...]]) -> Path:
    """A build that was written."""
    assert KEY in write(build, tmp_path / "build/lab", recipients)
    return tmp_path / "build/lab"


def state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Inode, time and content of every file."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_second_time_nothing_is_written(
    folder: Path, build: Build, recipients: Mapping[Store, tuple[str, ...]]
) -> None:
    before = state(folder)
    assert write(build, folder, recipients) == ()
    assert state(folder) == before


def test_what_is_sealed_opens_to_what_the_manifest_lists(folder: Path, identities: Identities) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    sealed = 0
    for name, node in manifest["nodes"].items():
        for entry in node["files"]:
            if entry["kind"] != "file" or entry["by"] != "kharden":
                continue
            path = folder / "nodes" / name / f"files{entry['path']}{'.age' if entry['sensitive'] else ''}"
            content = path.read_bytes()
            if entry["sensitive"]:
                sealed += 1
                content = unseal(content, identities, where=path)
            assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert sealed == len(list(folder.rglob("*.age"))) > 10


def test_each_store_has_recipients_of_its_own(folder: Path, identities: Identities) -> None:
    for store, path in (("roots", KEY), ("leaves", LEAF)):
        own = identities.recipients["roots" if store == "roots" else "leaves"]
        only = replace(identities, keys=tuple(key for key in identities.keys if str(key.to_public()) in own))
        assert unseal((folder / path).read_bytes(), only, where=folder / path)
        other = LEAF if path == KEY else KEY
        with pytest.raises(MissingError):
            unseal((folder / other).read_bytes(), only, where=folder / other)


# --- links and what else lies in the way


@pytest.mark.parametrize("place", [CONFIG, KEY, "manifest.json", "nodes/cp1", "cluster"])
def test_a_symbolic_link_is_refused_and_what_it_leads_to_is_left_alone(
    folder: Path, build: Build, recipients: Mapping[Store, tuple[str, ...]], tmp_path: Path, place: str
) -> None:
    path, aim = folder / place, tmp_path / "aim"
    path.rename(aim)
    path.symlink_to(aim)
    before = state(tmp_path)
    with pytest.raises(RefusedError, match=r"a symbolic link lies where rendered files belong: remove it") as caught:
        write(build, folder, recipients)
    assert str(path) in str(caught.value)
    assert state(tmp_path) == before


def test_a_build_folder_that_is_a_link_is_refused(
    build: Build, recipients: Mapping[Store, tuple[str, ...]], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "lab").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match="symbolic link"):
        write(build, tmp_path / "lab", recipients)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_in_the_place_of_a_file_is_an_error_of_ours(
    folder: Path, build: Build, recipients: Mapping[Store, tuple[str, ...]]
) -> None:
    (folder / CONFIG).unlink()
    (folder / CONFIG).mkdir()
    with pytest.raises(WriteError, match=r"config\.toml: can't write"):
        write(build, folder, recipients)


# --- what is no longer rendered


def test_what_is_no_longer_rendered_goes(
    folder: Path, plan: ClusterPlan, recipients: Mapping[Store, tuple[str, ...]]
) -> None:
    (folder / "nodes/cp1/files/etc/stale").mkdir()
    (folder / "nodes/cp1/files/etc/stale/file").write_text("by hand")
    (folder / "nodes/cp1/files/etc/.config.toml.0123abcd").write_text("of a write that was cut off")
    without_worker = replace(plan, nodes=plan.control_planes)
    changed = write(rendered(without_worker), folder, recipients)
    assert "nodes/cp1/files/etc/stale/file" in changed
    assert "nodes/w1/files/etc/containerd/config.toml" in changed
    assert not (folder / "nodes/w1").exists()
    assert not (folder / "nodes/cp1/files/etc/stale").exists()
    assert not list(folder.rglob(".*"))


def test_a_node_that_goes_takes_its_sealed_files_along(
    plan: ClusterPlan, recipients: Mapping[Store, tuple[str, ...]], tmp_path: Path
) -> None:
    ha = planned(GOLDEN / "ha" / "cluster.yaml")
    write(rendered(ha), tmp_path / "it", recipients)
    assert list((tmp_path / "it/nodes/cp3").rglob("*.age"))
    write(rendered(plan), tmp_path / "it", recipients)
    assert {path.name for path in (tmp_path / "it/nodes").iterdir()} == {"cp1", "w1"}
    assert not [name for name in json.loads((tmp_path / "it/sealed.json").read_bytes()) if "cp3" in name]


# --- what is sealed anew, and when


def sealed_anew(changed: tuple[str, ...]) -> set[str]:
    return {name for name in changed if name.endswith(".age")}


def test_another_secret_is_sealed_anew_and_the_rest_stays(
    folder: Path, plan: ClusterPlan, recipients: Mapping[Store, tuple[str, ...]]
) -> None:
    secrets = stand_ins(plan)
    turned = replace(secrets, data=replace(secrets.data, encryption_keys=secrets.data.encryption_keys[:1]))
    changed = write(rendered(plan, turned), folder, recipients)
    assert sealed_anew(changed) == {"nodes/cp1/files/etc/kharden/api/encryption.yaml.age"}


def test_other_recipients_of_a_store_seal_its_files_anew_and_no_others(
    folder: Path, build: Build, recipients: Mapping[Store, tuple[str, ...]]
) -> None:
    wider: dict[Store, tuple[str, ...]] = {**recipients, "roots": recipients["roots"] + recipients["data"]}
    changed = write(build, folder, wider)
    assert sealed_anew(changed) == {KEY, KEY.replace("ca.key", "sa.key")}
    assert write(build, folder, {**wider, "roots": tuple(reversed(wider["roots"]))}) == ()


def test_a_damaged_ciphertext_is_sealed_anew(
    folder: Path, build: Build, recipients: Mapping[Store, tuple[str, ...]], identities: Identities
) -> None:
    content = (folder / LEAF).read_bytes()
    (folder / LEAF).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (folder / KEY).unlink()
    assert sealed_anew(write(build, folder, recipients)) == {LEAF, KEY}
    assert unseal((folder / LEAF).read_bytes(), identities, where=folder)


@pytest.mark.parametrize("record", ["", "{", "[]", "null", '{"PATH": 5}', '{"PATH": {"plaintext": 5}}', '{"PATH": []}'])
def test_a_record_that_is_lost_or_damaged_means_that_all_is_sealed_anew(
    folder: Path, build: Build, recipients: Mapping[Store, tuple[str, ...]], record: str
) -> None:
    (folder / "sealed.json").write_text(record.replace("PATH", KEY))
    assert len(sealed_anew(write(build, folder, recipients))) == len(list(folder.rglob("*.age")))
    assert write(build, folder, recipients) == ()


# --- the roots stay closed


def closed(plan: ClusterPlan) -> tuple[Build, RootsDoor]:
    """A build whose roots this machine can't open."""

    def refuse() -> object:
        raise MissingError("roots.age: no identity of this machine opens it")

    door = RootsDoor(refuse)  # type: ignore[arg-type]  # it never gives anything
    return rendered(plan, replace(stand_ins(plan), roots=door)), door


def test_the_roots_stay_closed_where_nothing_has_changed(
    folder: Path, plan: ClusterPlan, recipients: Mapping[Store, tuple[str, ...]]
) -> None:
    build, door = closed(plan)
    before = state(folder)
    assert write(build, folder, recipients) == ()
    assert not door.opened
    assert state(folder) == before


def test_a_change_elsewhere_does_not_open_them(
    folder: Path, plan: ClusterPlan, recipients: Mapping[Store, tuple[str, ...]]
) -> None:
    build, door = closed(replace(plan, kubelet=replace(plan.kubelet, pod_pids_limit=64)))
    changed = write(build, folder, recipients)
    assert "nodes/cp1/files/etc/kharden/kubeadm/init.yaml" in changed
    assert not sealed_anew(changed)
    assert not door.opened


def test_where_they_are_needed_and_can_not_be_opened_nothing_is_written(
    folder: Path, plan: ClusterPlan, recipients: Mapping[Store, tuple[str, ...]]
) -> None:
    (folder / KEY).unlink()
    before = state(folder)
    build, _ = closed(replace(plan, kubelet=replace(plan.kubelet, pod_pids_limit=64)))
    with pytest.raises(MissingError, match=r"roots\.age"):
        write(build, folder, recipients)
    assert state(folder) == before
