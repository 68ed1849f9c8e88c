"""How nodes are reached by ssh: the texts of ssh_config and known_hosts, pure functions of the plan.

Nothing of the user's or the machine's own configuration counts (`ssh -F` takes this file alone, and hands it on to the
ssh that it starts for a jump host), and a host key that is not in the plan ends the connection before anything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.plan.model import ClusterPlan, JumpHostPlan, NodePlan

_DEFAULT_PORT = 22
# ssh_config(5). What a node could use against us (forwarding, passwords, new host keys by its own word) is off.
_ALL_NODES = """\
Host *
  BatchMode yes
  StrictHostKeyChecking yes
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile none
  UpdateHostKeys no
  CheckHostIP no
  PreferredAuthentications publickey
  ForwardAgent no
  ForwardX11 no
  PermitLocalCommand no
  ConnectTimeout 10
  ServerAliveInterval 15
  ServerAliveCountMax 3
  LogLevel ERROR
"""
# One connection carries every command of a run; %C is a digest, so the socket's path stays short (unix(7): 108 bytes).
_MULTIPLEXED = """\
  ControlMaster auto
  ControlPath {sockets}
  ControlPersist 60
"""


def ssh_config(plan: ClusterPlan, folder: Path, *, sockets: Path | None = None) -> str:
    """The configuration with which every node answers to its name.

    Args:
        plan: the cluster.
        folder: where `known_hosts` lies beside this file, absolute.
        sockets: private folder for control sockets; without one the caller multiplexes by itself, as Ansible does.

    Raises:
        InputError: a path has characters that ssh_config can't hold.
    """
    text = "".join(f"{_host(machine)}\n" for machine in plan.machines)
    text += _ALL_NODES.format(known_hosts=_path(folder / "known_hosts"))
    if sockets is not None:
        text += _MULTIPLEXED.format(sockets=_path(sockets, "/%C"))
    return text


def known_hosts(plan: ClusterPlan) -> str:
    """The pinned host keys of every node and jump host, under its name and under its address as ssh writes it."""
    return "".join(
        f"{machine.name},{_known_address(machine)} {key}\n"
        for machine in plan.machines
        for key in machine.ssh.host_keys
    )


def _host(machine: NodePlan | JumpHostPlan) -> str:
    ssh = machine.ssh
    lines = [
        f"Host {machine.name}",
        f"  HostName {machine.address}",
        f"  HostKeyAlias {machine.name}",
        f"  Port {ssh.port}",
        f"  User {ssh.user}",
    ]
    if ssh.key is not None:
        lines += [f"  IdentityFile {_path(ssh.key)}", "  IdentitiesOnly yes"]
    if ssh.jump_host is not None:
        lines.append(f"  ProxyJump {ssh.jump_host}")
    return "".join(f"{line}\n" for line in lines)


def _known_address(machine: NodePlan | JumpHostPlan) -> str:
    """sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: brackets only where the port is another than 22."""
    return str(machine.address) if machine.ssh.port == _DEFAULT_PORT else f"[{machine.address}]:{machine.ssh.port}"


def _path(path: Path, suffix: str = "") -> str:
    """A path in quotes, its percent signs doubled (ssh_config(5), TOKENS); ssh itself knows what a tilde means."""
    text = str(path)
    if (
        not (path.is_absolute() or text.startswith("~/"))
        or "${" in text
        or any(character in text for character in '"\\\n\r\0')
    ):
        raise InputError(
            f"{text!r}: ssh can't be told of this path",
            remedy="use an absolute path without quotes, backslashes and ${",
        )
    return f'"{text.replace("%", "%%")}{suffix}"'
