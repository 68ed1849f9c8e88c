"""Files of a member of etcd: its own copies of its keys, and its service where it has a machine of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.plan import arguments
from kharden.render.artefact import Artefact, Folder
from kharden.render.text import render

if TYPE_CHECKING:
    from kharden.pki.views import SecretFile
    from kharden.plan.model import ClusterPlan, NodePlan

# A system user's number that Debian's own range for them holds (100 to 999) and that no package of Debian claims.
ETCD_UID = 979
# By number: files are placed before the user has been made from sysusers.d.
ETCD_OWNER = str(ETCD_UID)
# Where its copies lie; its pod and its service see them in place of the files of root's in /etc/kubernetes/pki/etcd.
ETCD_PKI = "/etc/kharden/etcd"
UNIT = "etcd.service"
# Who the others are, at a member's first start; apply writes it, and removes it after the start.
FIRST_START = "/run/kharden/etcd.env"
_PROGRAM = "/usr/local/bin/etcd"
_UNIT_FILE = f"/etc/systemd/system/{UNIT}"


def etcd_folders() -> tuple[Folder, ...]:
    """Those of a member, wherever it runs."""
    return (
        Folder(ETCD_PKI, 0o700, ETCD_OWNER, ETCD_OWNER, ("etcd-own-user",)),
        Folder("/etc/kubernetes/pki/etcd"),
        Folder(arguments.ETCD_DATA, 0o700, ETCD_OWNER, ETCD_OWNER, ("etcd-data-directory",)),
    )


def etcd_copies(node: NodePlan, files: tuple[SecretFile, ...]) -> tuple[Artefact, ...]:
    """Copies of what a member reads, for its own user alone: root's are closed to it (CIS 1.1.12)."""
    restarts = ("static-pod/etcd",) if node.kubelet else (UNIT,)
    return tuple(
        Artefact(
            f"{ETCD_PKI}/{file.path.removeprefix('etcd/')}",
            file,
            mode=0o400,
            owner=ETCD_OWNER,
            group=ETCD_OWNER,
            store=file.store,
            restarts=restarts,
            controls=("etcd-own-user",),
        )
        for file in files
        if file.path.startswith("etcd/")
    )


def etcd_unit(plan: ClusterPlan, node: NodePlan) -> Artefact:
    """The service of a member on a machine of its own."""
    flags = arguments.etcd_alone(plan, node)
    values: dict[str, object] = {
        # One flag in a line, for people.
        "command": " \\\n    ".join((_PROGRAM, *(f"--{flag.name}={flag.value}" for flag in flags))),
        "data": arguments.ETCD_DATA,
        "copies": ETCD_PKI,
        "seen_at": arguments.ETCD_PKI,
        "first_start": FIRST_START,
        "file_limit": node.runtime.file_limit,
    }
    controls = {control for flag in flags for control in flag.controls}
    return Artefact(
        _UNIT_FILE,
        render(_UNIT_FILE[1:], values),
        restarts=("daemon-reload", UNIT),
        controls=tuple(sorted({"etcd-own-user", *controls})),
    )
