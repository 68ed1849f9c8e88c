"""What a plan needs to know of machines beforehand; for real machines that is nothing but what cluster.yaml says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class LabFacts:
    """What the lab's host and its nodes-to-be are like, collected before the plan is made.

    Attributes:
        cgroup_version: 1 where the host mounts cgroup v1 controllers, 2 where it is unified.
        oom_adjustable: whether the host grants CAP_SYS_RESOURCE; without it no process may lower its OOM score.
        file_limit: the host's hard limit of open files; a unit's LimitNOFILE can't exceed it.
        ssh_key: the private key made for this lab, on this machine.
        host_keys: for each node and jump host its ssh host keys as "type base64", made before its first boot.
    """

    cgroup_version: Literal[1, 2]
    oom_adjustable: bool
    file_limit: int
    ssh_key: Path
    host_keys: Mapping[str, tuple[str, ...]]
