"""A node's disk: an overlay above the base tree, with the files that make it this node."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.errors import RefusedError
from kharden.lab.keys import HOST_KEY_FILE, host_key
from kharden.lab.logins import login_files
from kharden.lab.places import node_folder
from kharden.securefile import make_folder, write

if TYPE_CHECKING:
    from kharden.lab.logins import LoginFile
    from kharden.lab.model import Lab, LabNode
    from kharden.lab.tree import Tree

# Their state must not lie on an overlay: containerd mounts overlays on its own, and etcd wants plain fsync.
PLAIN_FOLDERS = ("containerd", "kubelet", "etcd")
_NETWORK_DROP_IN = "etc/systemd/system/kharden-lab-network.service.d/families.conf"


def make_disk(lab: Lab, node: LabNode, tree: Tree) -> None:
    """Make the node's folders and place its own files; a node that was there keeps its disk.

    Raises:
        RefusedError: its disk belongs to another base tree.
        InputError: its user is one that Debian has.
    """
    folder = node_folder(lab.name, node.name)
    base = folder / "base"
    if has_disk(lab, node):
        if base.read_text(encoding="utf-8") != tree.root.parent.name:
            raise RefusedError(
                f"lab {lab.name}: the disk of {node.name} belongs to an older base tree",
                remedy="take the lab down, then bring it up again",
            )
        update_hosts(lab, folder / "upper")
        return
    logins = login_files(lab, node, tree.root)
    for name in ("upper", "work", "root", *PLAIN_FOLDERS):
        make_folder(folder / name, mode=0o700 if name == "etcd" else 0o755)
    private = host_key(lab.name, node.name)
    for path, content, mode in (
        ("etc/hostname", f"{node.name}\n".encode(), 0o644),
        ("etc/hosts", hosts_file(lab).encode(), 0o644),
        ("etc/resolv.conf", resolver_file(lab).encode(), 0o644),
        ("etc/machine-id", f"{uuid.uuid4().hex}\n".encode(), 0o444),
        ("etc/kharden-lab/network", _network_file(lab, node).encode(), 0o644),
        (f"etc/ssh/{HOST_KEY_FILE}", private.read_bytes(), 0o600),
        (f"etc/ssh/{HOST_KEY_FILE}.pub", private.with_suffix(".pub").read_bytes(), 0o644),
    ):
        _place(folder / "upper", tree.root, path, content, mode)
    if lab.has_ipv6:
        _place(folder / "upper", tree.root, _NETWORK_DROP_IN, _network_unit(lab, node).encode(), 0o644)
    for file in logins:
        _place_login(folder / "upper", tree.root, file)
    # The last one: a disk without it is not finished.
    write(base, tree.root.parent.name.encode())


def has_disk(lab: Lab, node: LabNode) -> bool:
    """Whether the node was up before: its disk is finished."""
    return (node_folder(lab.name, node.name) / "base").is_file()


def update_hosts(lab: Lab, root: Path) -> None:
    """Tell a node that is there of nodes that came later; `root` is its root folder, or its overlay's upper one."""
    path = root / "etc/hosts"
    known = path.read_text(encoding="utf-8").split()
    if any(node.name not in known for node in lab.nodes):
        write(path, hosts_file(lab).encode())


def hosts_file(lab: Lab) -> str:
    """Every node knows every node: nothing else resolves their names."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{address} {node.name}" for node in lab.nodes for address in node.addresses]
    return "\n".join(lines) + "\n"


def resolver_file(lab: Lab) -> str:
    """The bridge as the resolver: nothing answers there, and the host says so at once.

    An empty file stops CoreDNS, and an address that is silent makes kubeadm wait for more than a minute.
    """
    servers = "".join(f"nameserver {gateway}\n" for gateway in lab.gateways)
    return f"{servers}options timeout:1 attempts:1\n"


def _network_file(lab: Lab, node: LabNode) -> str:
    return f"ADDRESS={node.address}/{lab.subnet.prefixlen}\nGATEWAY={lab.gateways[0]}\n"


def _network_unit(lab: Lab, node: LabNode) -> str:
    """What the tree's own unit does, in the place of its commands, for addresses that aren't a single one of IPv4.

    Without waiting until nobody else claims the address: a program that starts meanwhile could not bind to it.
    """
    commands = ["ip link set lo up", "ip link set host0 up"]
    for address, subnet, gateway in zip(node.addresses, lab.subnets, lab.gateways, strict=False):
        at_once = " nodad" if address.version == 6 else ""  # noqa: PLR2004  # IP version 6
        commands.append(f"ip address replace {address}/{subnet.prefixlen} dev host0{at_once}")
        commands.append(f"ip -{address.version} route replace default via {gateway}")
    return "".join(("[Service]\nExecStart=\n", *(f"ExecStart={command}\n" for command in commands)))


def _place(upper: Path, base: Path, path: str, content: bytes, mode: int) -> None:
    """Write a file of the overlay; a folder that the base has too keeps that one's mode."""
    _make_parents(upper, base, path)
    write(upper / path, content, mode=mode)


def _place_login(upper: Path, base: Path, file: LoginFile) -> None:
    if file.content is None:
        _make_parents(upper, base, file.path)
        (upper / file.path).mkdir(exist_ok=True)
        (upper / file.path).chmod(file.mode)
    else:
        _place(upper, base, file.path, file.content, file.mode)
    os.chown(upper / file.path, file.uid, file.gid)


def _make_parents(upper: Path, base: Path, path: str) -> None:
    for parent in reversed(Path(path).parents[:-1]):
        wanted = (base / parent).stat().st_mode & 0o7777 if (base / parent).is_dir() else 0o700
        if not (upper / parent).is_dir():
            (upper / parent).mkdir()
            (upper / parent).chmod(wanted)
