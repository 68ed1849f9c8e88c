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
OWN_KEY = "mv /root/own/* /etc/ssh/ && systemctl restart ssh"


@pytest.mark.parametrize("machine", ["w1", "bastion"])
def test_a_foreign_host_key_of_a_node_or_its_jump_host_stops_everything(kharden: Run, node: Node, machine: str) -> None:
    node(machine, OTHER_KEY)
    try:
        planned = kharden("plan", status=1)
        observed = kharden("verify", status=1)
    finally:
        node(machine, OWN_KEY)
    whose = "its" if machine == "w1" else f"{machine}'s"
    assert f"kharden: w1: Look at the machine, change nothing: {whose} ssh host key is not the pinned" in planned.stderr
    assert f"kharden: {machine}: its ssh host key is not the pinned one: find out why" in observed.stderr
    for said in (planned.stderr, observed.stderr):
        assert len(said.splitlines()) == 1
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
