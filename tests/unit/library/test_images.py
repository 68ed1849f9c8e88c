"""The module images, with a containerd of the test's own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.render.programs import VERSION, found, recorded

from .conftest import Result, run_module, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Node

REFERENCE = "registry.k8s.io/pause:3.10.2"
ANOTHER = "sha256:" + "0" * 64


def image(**values: object) -> dict[str, Any]:
    given = {"reference": REFERENCE, "digest": ANOTHER, "archive_sha256": "0" * 64, "size": 7}
    return given | values


def images(node: Node, *wanted: dict[str, Any], check: bool = False, **values: object) -> Result:
    places = {"staging": str(node.staging), "address": str(node.path("/none.sock"))}
    return run_module("images", {"wanted": list(wanted), **places, **values}, check=check)


# --- without containerd


@pytest.mark.parametrize("ctr", ["/usr/bin/env", "/no/such/ctr"])
def test_before_containerd_runs_everything_is_missing(node: Node, ctr: str) -> None:
    result = images(node, image(), image(reference="it:2", archive_sha256="1" * 64), state="queried", ctr=ctr)
    assert result.values["missing"] == [REFERENCE, "it:2"]
    assert result.values["archives"] == [{"sha256": "0" * 64, "size": 7}, {"sha256": "1" * 64, "size": 7}]
    assert [one["name"].split(" (sha256:")[0] for one in result.values["changes"]] == [REFERENCE, "it:2"]
    assert result.values["changed"] is False


def test_looking_changes_nothing_on_the_node(node: Node) -> None:
    before = snapshot(node.root.parent)
    assert images(node, image(), state="queried").values["changed"] is False
    assert images(node, image(), check=True).values["changed"] is True
    assert images(node, image(), state="queried", check=True).values["changed"] is False
    assert snapshot(node.root.parent) == before


def test_nothing_wanted_is_nothing_to_do(node: Node) -> None:
    result = images(node)
    assert (result.values["missing"], result.values["changed"]) == ([], False)


@pytest.mark.parametrize("name", ["../../../etc/shadow", "", "A" * 64, "0" * 63])
def test_what_is_no_digest_is_refused(node: Node, name: str) -> None:
    result = images(node, image(archive_sha256=name))
    assert result.status == 1
    assert "is not 64 lower-case hexadecimal digits: correct the list" in result.values["msg"]


@pytest.mark.parametrize("key", ["reference", "digest", "archive_sha256", "size"])
def test_an_image_that_is_not_described_wholly_is_refused(node: Node, key: str) -> None:
    wanted = image()
    del wanted[key]
    result = images(node, wanted)
    assert result.status == 1
    assert key in result.values["msg"]


def test_an_archive_that_was_not_staged_is_told(node: Node) -> None:
    result = images(node, image())
    assert result.status == 1
    assert "0" * 64 in result.values["msg"]
    assert "Traceback" not in result.printed


def test_a_damaged_archive_is_removed_and_told(node: Node) -> None:
    node.stage(b"half of it", name="0" * 64)
    result = images(node, image())
    assert result.status == 1
    assert result.values["msg"] == f"{REFERENCE}: its archive was damaged on the way and is removed: apply again"
    assert not list(node.staging.iterdir())


def test_a_link_in_the_place_of_an_archive_is_not_followed(node: Node) -> None:
    node.staging.mkdir(parents=True)
    (node.staging / ("0" * 64)).symlink_to("/etc/hostname")
    result = images(node, image())
    assert result.status == 1
    assert "can't read" in result.values["msg"]


# --- with containerd


@dataclass(frozen=True)
class Containerd:
    """One that runs with everything below a folder of its own."""

    ctr: str
    address: Path
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    programs = found()
    if not {"containerd", "ctr"} <= programs.paths.keys() or os.geteuid() != 0:
        pytest.skip("needs root, and containerd, which `invoke test` builds")
    folder = tmp_path_factory.mktemp("c")
    address = folder / "c.sock"
    config = folder / "config.toml"
    config.write_text(
        f'version = 4\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"]\n'
        f'[plugins."io.containerd.server.v1.grpc"]\naddress = "{address}"\n'
        f'[plugins."io.containerd.server.v1.ttrpc"]\naddress = "{address}.ttrpc"\n'
    )
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([programs["containerd"], "--config", config], stdout=log, stderr=log) as it,
    ):
        limit = time.monotonic() + 120
        while "containerd successfully booted" not in (said := (folder / "log").read_text()):
            assert it.poll() is None, said
            assert time.monotonic() < limit, said
            time.sleep(0.05)  # the pace of looking
        yield Containerd(programs["ctr"], address, it)
        it.terminate()


@dataclass(frozen=True)
class Archive:
    """A real image's archive in this user's cache."""

    wanted: dict[str, Any]
    path: Path


@pytest.fixture(scope="module")
def pause() -> Archive:
    record = recorded()
    release = record.lock.kubernetes(VERSION)
    programs = {program.name: made for program in release.programs if (made := record.program(program))}
    described = next(each for each in release.images if each.reference == REFERENCE)
    file = record.image(described, programs, ()) if len(programs) == len(release.programs) else None
    if file is None:
        pytest.skip("needs the image pause, which `invoke test` makes")
    return Archive(
        image(digest=file.digest, archive_sha256=file.archive, size=file.size), record.store.path(file.archive)
    )


def imported(node: Node, containerd: Containerd, *wanted: dict[str, Any], **values: Any) -> Result:  # noqa: ANN401  # as the module takes them
    return images(node, *wanted, address=str(containerd.address), ctr=containerd.ctr, **values)


@pytest.mark.programs
@pytest.mark.lab
def test_an_image_is_imported_once_and_known_by_its_digest(node: Node, containerd: Containerd, pause: Archive) -> None:
    node.stage(pause.path.read_bytes())
    before = imported(node, containerd, pause.wanted, state="queried")
    assert before.values["missing"] == [REFERENCE]
    assert before.values["archives"] == [{"sha256": pause.wanted["archive_sha256"], "size": pause.wanted["size"]}]
    first = imported(node, containerd, pause.wanted)
    assert (first.status, first.values["changed"], first.values["missing"]) == (0, True, [REFERENCE]), first.printed
    # What was staged is no longer needed.
    shutil.rmtree(node.staging)
    again = imported(node, containerd, pause.wanted)
    assert (again.status, again.values["changed"], again.values["missing"]) == (0, False, [])
    assert imported(node, containerd, pause.wanted, check=True).values["changed"] is False


@pytest.mark.programs
@pytest.mark.lab
def test_an_archive_that_holds_something_else_is_told(node: Node, containerd: Containerd, pause: Archive) -> None:
    node.stage(pause.path.read_bytes())
    result = imported(node, containerd, pause.wanted | {"digest": ANOTHER})
    assert result.status == 1
    assert f"{REFERENCE}: should be {ANOTHER} but containerd has {pause.wanted['digest']}" in result.values["msg"]


@pytest.mark.programs
@pytest.mark.lab
def test_what_was_imported_before_one_failed_is_told(node: Node, containerd: Containerd, pause: Archive) -> None:
    node.stage(pause.path.read_bytes())
    wanted = pause.wanted | {"digest": ANOTHER}
    result = imported(node, containerd, wanted, image(reference="registry.k8s.io/another:1", archive_sha256="1" * 64))
    assert result.status == 1
    assert result.values["changes"] == [{"action": "import", "name": f"{REFERENCE} ({ANOTHER})"}]


@pytest.mark.programs
@pytest.mark.lab
def test_an_archive_that_containerd_does_not_take_is_told(node: Node, containerd: Containerd) -> None:
    digest = node.stage(b"no archive at all")
    result = imported(node, containerd, image(archive_sha256=digest))
    assert result.status == 1
    assert f"{REFERENCE}: containerd doesn't take the archive: " in result.values["msg"]


@pytest.mark.programs
@pytest.mark.lab
def test_a_socket_without_a_containerd_behind_it_has_no_images(
    node: Node, containerd: Containerd, pause: Archive, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    result = images(node, pause.wanted, state="queried", address=str(tmp_path / "s"), ctr=containerd.ctr)
    assert (result.status, result.values.get("missing")) == (0, [REFERENCE]), result.printed
