"""The rendered rules, and nft's own judgement of them."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.unit.plan.planner import NETWORKS, Planner

from .stand_ins import rendered
from .test_programs import PATH, own_program, texts

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.render.cluster import Build

RULES = "/etc/nftables.d/kharden.nft"


def checked(folder: Path, content: str) -> subprocess.CompletedProcess[str]:
    """What nft says of rules, in a network namespace without any, and of loading them twice."""
    path = folder / "kharden.nft"
    path.write_text(content, encoding="utf-8")
    own_program("nft")
    command = 'nft --check --file "$0" && nft --file "$0" && nft --file "$0"'
    if os.geteuid() != 0:
        pytest.skip("nft needs root, even to check")
    return subprocess.run(
        ["unshare", "--net", "sh", "-c", command, path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": PATH, "LC_ALL": "C.UTF-8"},
    )


@pytest.mark.programs
def test_nft_takes_the_rules(build: Build, tmp_path: Path) -> None:
    for node, content in texts(build, RULES).items():
        done = checked(tmp_path, content)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), node


@pytest.mark.programs
@pytest.mark.parametrize("networks", NETWORKS)
@pytest.mark.parametrize("control_planes", [1, 3])
def test_nft_takes_the_rules_of_every_family(tmp_path: Path, networks: str, control_planes: int) -> None:
    everybody = ["0.0.0.0/0", "::/0"]
    folder = tmp_path / "test"
    folder.mkdir()
    plan = Planner(folder)(
        offsets=(11, 12, 13, 21),
        control_planes=control_planes,
        networks=networks,
        access={"api": ["198.51.100.0/25", "2001:db8:9::/48"], "ssh": [*everybody], "nodePorts": [*everybody]},
    )
    for node, content in texts(rendered(plan), RULES).items():
        done = checked(tmp_path, content)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), node


@pytest.mark.programs
def test_nft_would_not_take_something_else(build: Build, tmp_path: Path) -> None:
    content = texts(build, RULES)["cp1"]
    assert checked(tmp_path, content.replace("policy drop", "policy refuse")).returncode != 0
    assert checked(tmp_path, content.replace("define nodes", "define nobody")).returncode != 0


def test_nothing_but_our_table_is_named(build: Build) -> None:
    for content in texts(build, RULES).values():
        commands = re.findall(r"^(?!define )[a-z].*$", content, flags=re.MULTILINE)
        assert commands == ["table inet kharden", "delete table inet kharden", "table inet kharden {"]
        assert not re.search(r"\bset |\bmap |type ipv", content)  # see the template
        assert re.findall(r"policy (\S+);", content) == ["drop"] * 3


def test_the_firewall_is_there_before_the_network(build: Build) -> None:
    for content in texts(build, "/etc/systemd/system/kharden-firewall.service").values():
        assert "\nBefore=network-pre.target " in content
        assert "\nDefaultDependencies=no\n" in content
        assert "ExecStop" not in content


def test_what_changes_is_loaded_and_what_nft_refuses_is_not_placed(build: Build) -> None:
    for node in build.nodes:
        rules = next(file for file in node.files if file.path == RULES)
        assert rules.restarts == ("kharden-firewall.service",)
        assert rules.validate == ("/usr/sbin/nft", "--check", "--file", "%s")
        assert rules.mode == 0o600
