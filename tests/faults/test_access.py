"""Somebody else in a machine's place, and a user who may no longer be root: nothing goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Node, Run

pytestmark = [pytest.mark.lab, pytest.mark.programs]

OTHER_KEY = """
cd /etc/ssh
mkdir -p /root/own && mv ssh_host_ed25519_key* /root/own/
ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key
systemctl restart ssh
"""
# What a repair would put right at once, on both nodes.
SPOILT = "chmod 0640 /etc/containerd/config.toml"
MODE = "stat --format=%a /etc/containerd/config.toml"
OWN_KEY = "mv /root/own/* /etc/ssh/ && systemctl restart ssh"


@pytest.mark.parametrize("machine", ["w1", "bastion", "cp1"])
def test_a_foreign_host_key_of_a_node_or_its_jump_host_stops_everything(kharden: Run, node: Node, machine: str) -> None:
    for name in ("cp1", "w1"):
        node(name, SPOILT)
    node(machine, OTHER_KEY)
    try:
        planned = kharden("plan", status=1).stderr
        applied = kharden("apply", "--yes", status=1).stderr
        observed = kharden("verify", status=1).stderr
        assert [node(name, MODE) for name in ("cp1", "w1")] == ["640\n", "640\n"]
    finally:
        node(machine, OWN_KEY)
    asked, whose = ("w1", f"{machine}'s") if machine == "bastion" else (machine, "its")
    assert f"kharden: {machine}: its ssh host key is not the pinned one: find out why" in observed
    for said in (planned, applied):
        assert f"kharden: {asked}: " in said
        assert f": {whose} ssh host key is not the pinned one: find out why" in said
    for said in (planned, applied, observed):
        assert len(said.splitlines()) == 1, said
    kharden("apply", "--yes")
    assert "nothing to change" in kharden("plan").stdout


def test_a_user_without_sudo_is_named_before_anything_is_touched(kharden: Run, node: Node) -> None:
    node("w1", "mv /etc/sudoers.d/kharden-lab /root/")
    try:
        refused = kharden("apply", "--yes", status=1)
    finally:
        node("w1", "mv /root/kharden-lab /etc/sudoers.d/")
    assert (
        "w1: Look at the machine, change nothing: who logs in there can't become root: let sudo make" in refused.stderr
    )
    assert "Host, programs and runtime" not in refused.stdout
