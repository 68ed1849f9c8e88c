from __future__ import annotations

import subprocess
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kharden.errors import InputError, RemoteError
from kharden.observe import collect
from kharden.observe.collection import parse
from kharden.observe.connection import connections
from kharden.observe.host_keys import scan_planned
from kharden.plan import transport
from kharden.plan.model import JumpHostPlan

if TYPE_CHECKING:
    from kharden.observe.facts import Snapshot
    from kharden.plan.model import ClusterPlan


def _effective(config: Path, node: str) -> dict[str, str]:
    """What ssh itself makes of the configuration."""
    shown = subprocess.run(["ssh", "-F", str(config), "-G", node], capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in shown.splitlines())


def test_ssh_takes_the_configuration_as_it_is_meant(plan: ClusterPlan, tmp_path: Path) -> None:
    folder = tmp_path / "a b%c"
    folder.mkdir()
    config = folder / "ssh_config"
    first = replace(plan.nodes[0], ssh=replace(plan.nodes[0].ssh, port=2222, user="admin"))
    config.write_text(transport.ssh_config(replace(plan, nodes=(first, plan.nodes[1])), folder, sockets=Path("/run/x")))
    seen = _effective(config, "cp1")
    assert (seen["hostname"], seen["port"], seen["user"]) == ("10.77.0.11", "2222", "admin")
    assert (seen["hostkeyalias"], seen["identityfile"]) == ("cp1", "/nowhere/key")
    assert (seen["stricthostkeychecking"], seen["batchmode"], seen["updatehostkeys"]) == ("true", "yes", "false")
    assert seen["userknownhostsfile"] == str(folder / "known_hosts")
    assert seen["globalknownhostsfile"] == "none"
    assert seen["controlpath"].startswith("/run/x/")
    assert (seen["forwardagent"], seen["identitiesonly"]) == ("no", "yes")
    assert _effective(config, "w1")["hostname"] == "10.77.0.21"


def test_without_a_folder_for_sockets_the_caller_multiplexes(plan: ClusterPlan, tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(transport.ssh_config(plan, tmp_path))
    assert "controlpath" not in _effective(config, "cp1")


def test_known_hosts_has_each_node_by_name_and_address(plan: ClusterPlan) -> None:
    odd = replace(plan.nodes[1], ssh=replace(plan.nodes[1].ssh, port=2222))
    lines = transport.known_hosts(replace(plan, nodes=(plan.nodes[0], odd))).splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == ["cp1,10.77.0.11", "w1,[10.77.0.21]:2222"]
    assert [line.split(" ", 1)[1] for line in lines] == [node.ssh.host_keys[0] for node in plan.nodes]


@pytest.mark.parametrize("path", ['/a"b', "/a\nb", "/a${HOME}", "relative", "/a\\b"])
def test_paths_that_ssh_would_read_otherwise_are_refused(plan: ClusterPlan, path: str) -> None:
    with pytest.raises(InputError, match="ssh can't be told of this path"):
        transport.ssh_config(plan, Path(path))


def test_connections_leave_nothing_behind(plan: ClusterPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with connections(plan) as connection:
        folder = connection.config.parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert connection.config.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []


def test_a_node_out_of_reach_has_the_reason_in_its_place(plan: ClusterPlan, snapshot: Snapshot) -> None:
    nobody = replace(plan.nodes[0], addresses=(ip_address("127.0.0.1"),))
    closed = replace(nobody, ssh=replace(nobody.ssh, port=1))  # tcpmux, which nobody serves
    seen = collect(replace(plan, nodes=(closed,)), "no image", now=snapshot.at)
    assert seen.nodes["cp1"]["error"].startswith("can't be reached (ssh")
    assert seen.away == {"cp1": seen.nodes["cp1"]["error"]}
    assert seen.at >= snapshot.at


@pytest.mark.parametrize("content", [b"", b"[]", b"Welcome to this machine!\n{}", b"\xff", b"[" * 100_000])
def test_what_is_no_document_is_refused(content: bytes) -> None:
    with pytest.raises(RemoteError, match="cp1: what the collector printed is not its document"):
        parse(content, "cp1")


@pytest.fixture
def behind(plan: ClusterPlan) -> ClusterPlan:
    """The same cluster, its worker behind a jump host."""
    gate = JumpHostPlan("bastion", "bastion.example.org", replace(plan.nodes[0].ssh, user="jump", port=2022))
    worker = replace(plan.nodes[1], ssh=replace(plan.nodes[1].ssh, jump_host="bastion", key=Path("~/.ssh/cluster")))
    return replace(plan, nodes=(plan.nodes[0], worker), jump_hosts=(gate,))


def test_ssh_goes_through_a_jump_host_that_is_pinned_too(behind: ClusterPlan, tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(transport.ssh_config(behind, tmp_path))
    assert _effective(config, "w1")["proxyjump"] == "bastion"
    assert _effective(config, "w1")["identityfile"] == "~/.ssh/cluster"
    assert "proxyjump" not in _effective(config, "cp1")
    gate = _effective(config, "bastion")
    assert (gate["hostname"], gate["port"], gate["user"]) == ("bastion.example.org", "2022", "jump")
    assert (gate["stricthostkeychecking"], gate["hostkeyalias"]) == ("true", "bastion")
    (line,) = (line for line in transport.known_hosts(behind).splitlines() if line.startswith("bastion"))
    assert line == f"bastion,[bastion.example.org]:2022 {behind.jump_hosts[0].ssh.host_keys[0]}"


def test_keys_are_not_scanned_past_a_jump_host_that_is_not_pinned(behind: ClusterPlan) -> None:
    gate = replace(behind.jump_hosts[0], ssh=replace(behind.jump_hosts[0].ssh, host_keys=()))
    with pytest.raises(InputError, match="bastion: is on the way to w1, and not pinned yet: scan bastion first"):
        scan_planned(replace(behind, jump_hosts=(gate,)), "w1")
    with pytest.raises(InputError, match=r"'w9' is no machine of cluster\.yaml: known ones: bastion, cp1, w1"):
        scan_planned(behind, "w9")
