"""Ansible itself is the judge: what a value of the inventory holds stays text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from .stand_ins import rendered, supplied

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan
    from kharden.render.cluster import Build

# One cluster is enough for Ansible.
pytestmark = pytest.mark.parametrize("case", ["ha"], indirect=True)
HOSTILE = (
    "{{ 7*7 }}",
    "{% for x in range(3) %}x{% endfor %}",
    "{# gone #}stays",
    "{{ lookup('pipe', 'touch MARK') }}",
    "!unsafe 'x'",
    'it\'s: a # text\\ with "everything"',
)


def ansible(program: str, *arguments: str, folder: Path) -> str:
    """What one of Ansible's programs prints; they lie beside the interpreter."""
    environment = {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "HOME": str(folder),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "temporary"),
        "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.yaml",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
    }
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return done.stdout


@pytest.fixture
def hostile(plan: ClusterPlan, tmp_path: Path) -> Path:
    """An inventory in which names of images are what Ansible would run, were they templates."""
    supply = supplied(plan.kubernetes)
    images = tuple(
        replace(image, reference=text.replace("MARK", str(tmp_path / "mark")))
        for image, text in zip(supply.images, HOSTILE, strict=False)
    )
    # Those that configurations look for by their names stay beside them.
    build = rendered(plan, supply=replace(supply, images=(*supply.images, *images)))
    path = tmp_path / "hosts.yaml"
    path.write_bytes(build.ansible["hosts.yaml"])
    return path


def wanted(folder: Path) -> list[str]:
    return [text.replace("MARK", str(folder / "mark")) for text in HOSTILE]


def test_a_value_that_looks_like_a_template_stays_text(hostile: Path, tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    tasks = [
        {
            "name": "Write what a task sees of it",
            "ansible.builtin.copy": {
                "content": "{{ kharden_images | map(attribute='reference') | to_json }}",
                "dest": str(tmp_path / "seen.json"),
                "mode": "0600",
            },
        }
    ]
    hosts = {"hosts": "first_control_plane", "gather_facts": False, "connection": "local", "tasks": tasks}
    hosts["vars"] = {"ansible_python_interpreter": sys.executable}
    play.write_text(yaml.safe_dump([hosts]), encoding="utf-8")
    ansible("ansible-playbook", "--inventory", str(hostile), str(play), folder=tmp_path)
    assert json.loads((tmp_path / "seen.json").read_text())[-len(HOSTILE) :] == wanted(tmp_path)
    assert not (tmp_path / "mark").exists()


def listed(path: Path, folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        ansible("ansible-inventory", "--inventory", str(path), "--list", folder=folder)
    )
    return content


def test_ansible_reads_the_inventory_as_it_is_meant(hostile: Path, plan: ClusterPlan, tmp_path: Path) -> None:
    read = listed(hostile, tmp_path)
    assert read["control_planes"]["hosts"] == [node.name for node in plan.control_planes]
    assert read["first_control_plane"]["hosts"] == [plan.control_planes[0].name]
    assert read["workers"]["hosts"] == [node.name for node in plan.workers]
    for node in plan.nodes:
        variables = read["_meta"]["hostvars"][node.name]
        assert {name for name in variables if not name.startswith("kharden_")} <= {"ansible_become"}
        assert variables["kharden_addresses"] == [text(str(address)) for address in node.addresses]
    first = read["_meta"]["hostvars"][plan.nodes[0].name]
    assert [image["reference"] for image in first["kharden_images"]][-len(HOSTILE) :] == list(
        map(text, wanted(tmp_path))
    )


def text(value: str) -> dict[str, str]:
    """How ansible-inventory writes a string that must not be taken for a template."""
    return {"__ansible_unsafe": value}


def test_every_text_of_the_inventory_is_marked(build: Build) -> None:
    class Loader(yaml.SafeLoader):
        """Takes !unsafe, which is Ansible's."""

    Loader.add_constructor("!unsafe", lambda _loader, node: ("unsafe", node.value))

    def unmarked(value: object) -> list[str]:
        if isinstance(value, dict):
            return [each for item in value.values() for each in unmarked(item)]
        if isinstance(value, list):
            return [each for item in value for each in unmarked(item)]
        return [value] if isinstance(value, str) else []

    assert unmarked(yaml.load(build.ansible["hosts.yaml"], Loader)) == []  # noqa: S506  # a safe loader with one tag more


def test_what_a_worker_is_given_names_its_own_programs_and_images(build: Build, plan: ClusterPlan) -> None:
    worker, control_plane = plan.workers[0].name, plan.control_planes[0].name
    nodes = {node.node: node for node in build.nodes}
    assert {program.path for program in nodes[worker].programs} < {
        program.path for program in nodes[control_plane].programs
    }
    names = {image.reference.rpartition("/")[2].partition(":")[0] for image in nodes[worker].images}
    assert names == {"kube-proxy", "coredns", "pause"}


def test_what_most_nodes_of_a_role_have_in_common_is_told_once(build: Build, plan: ClusterPlan) -> None:
    groups = yaml.safe_load(build.ansible["hosts.yaml"].replace(b"!unsafe ", b""))["all"]["children"]
    assert groups["workers"]["hosts"].keys() == {node.name for node in plan.workers}
    # Each of these two workers has a port of sshd of its own.
    for role, own in (("control_planes", set()), ("workers", {"kharden_preflight", "ansible_become"})):
        common = groups[role]["vars"].keys()
        assert {"kharden_preflight", "kharden_programs", "kharden_images"} - own <= common
        for given in groups[role]["hosts"].values():
            assert given.keys() == {"kharden_addresses"} | own
            assert not given.keys() & common


def test_only_who_is_not_root_becomes_root(plan: ClusterPlan, tmp_path: Path) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_bytes(rendered(plan).ansible["hosts.yaml"])
    hosts = listed(path, tmp_path)["_meta"]["hostvars"]
    become = {name: variables["ansible_become"] for name, variables in hosts.items()}
    assert become == {node.name: node.ssh.user != "root" for node in plan.nodes}
    assert set(become.values()) == {True, False}
