"""What can't be judged on lab nodes: the one reviewed list.

A lab node is a container: its kernel is the machine's it runs on, shared with other nodes and with other work. What
such a kernel says is no evidence about a cluster, so it is reported as not applicable, never as a pass.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHARED_KERNEL = "the kernel is that of the machine that the lab runs on"

NOT_APPLICABLE: Mapping[str, str] = MappingProxyType(
    {
        "sysctl-kernel": _SHARED_KERNEL,
        "kubelet-protects-kernel-settings": _SHARED_KERNEL,
    }
)
