"""Nodes on this machine: systemd-nspawn containers with their own systemd, sshd, network and control groups."""

from kharden.lab.changes import host_changes
from kharden.lab.lifecycle import down, labs, prepare, shell, status, up
from kharden.lab.model import HostChange, Lab, LabNode, LabStatus, NodeStatus, Progress
from kharden.lab.requirements import check

__all__ = [
    "HostChange",
    "Lab",
    "LabNode",
    "LabStatus",
    "NodeStatus",
    "Progress",
    "check",
    "down",
    "host_changes",
    "labs",
    "prepare",
    "shell",
    "status",
    "up",
]
