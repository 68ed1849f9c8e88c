"""The lab's ssh keys: one to log in with, and each node's host key, made before its first boot so that it is pinned."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kharden.lab.places import node_folder, state_folder
from kharden.lab.programs import path_of, run
from kharden.securefile import make_folder

if TYPE_CHECKING:
    from kharden.lab.model import Lab

KEY_FILE = "id_ed25519"
HOST_KEY_FILE = "ssh_host_ed25519_key"


def login_key(lab_name: str) -> Path:
    """Where the private key lies with which one logs in on the lab's nodes."""
    return state_folder(lab_name) / "ssh" / KEY_FILE


def host_key(lab_name: str, node_name: str) -> Path:
    """Where the private host key of a node lies on this machine."""
    return node_folder(lab_name, node_name) / "ssh" / HOST_KEY_FILE


def make_keys(lab: Lab) -> None:
    """Make what is missing of the lab's keys; what is there stays."""
    # The nodes' disks will lie below it too, with what a cluster keeps secret.
    make_folder(state_folder(lab.name), mode=0o700)
    _make_pair(login_key(lab.name), f"kharden lab {lab.name}")
    for node in lab.nodes:
        _make_pair(host_key(lab.name, node.name), f"{node.name}.{lab.name}")


def public_key(private: Path) -> str:
    """The public half as "type base64", without the comment."""
    return " ".join(private.with_suffix(".pub").read_text(encoding="ascii").split()[:2])


def _make_pair(private: Path, comment: str) -> None:
    folder = private.parent
    if private.is_file() and private.with_suffix(".pub").is_file():
        return
    make_folder(folder.parent)
    # Both files appear at once with their folder: a killed ssh-keygen leaves no half pair.
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".ssh-"))
    try:
        run(
            [
                *(path_of("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", ""),
                *("-C", comment, "-f", str(temporary / private.name)),
            ],
            what=f"making the key {private}",
        )
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
