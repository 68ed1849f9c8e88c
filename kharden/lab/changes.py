"""What `up` would change on the host, in plain words, so that a person can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.lab import sysctls
from kharden.lab.model import HostChange, bridge_name
from kharden.lab.modules import missing_modules
from kharden.lab.network import has_link
from kharden.lab.requirements import missing_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.lab.model import Lab


def host_changes(lab: Lab) -> tuple[HostChange, ...]:
    """What `up` and a cluster on its nodes would change on this machine; empty where the lab is up. Changes nothing."""
    return tuple(_changes(lab))


def _changes(lab: Lab) -> Iterator[HostChange]:
    for package in missing_packages():
        yield HostChange("package", package, "", "installed", "nodes are containers of systemd-nspawn; it stays")
    for module in missing_modules():
        yield HostChange("module", module, "", "loaded", "the cluster's network needs it; lab.down unloads it")
    bridge = bridge_name(lab.name)
    if has_link(bridge):
        return
    own = (f"{gateway}/{subnet.prefixlen}" for gateway, subnet in zip(lab.gateways, lab.subnets, strict=True))
    yield HostChange("interface", bridge, "", f"a bridge with {' and '.join(own)}", "lab.down removes it")
    for name, value in sysctls.below_limits().items():
        yield HostChange("sysctl", name, sysctls.read(name) or "", value, "nodes share it; lab.down puts it back")
    for name, value in sysctls.KUBELET.items():
        now = sysctls.read(name)
        if now is not None and now != value:
            yield HostChange("sysctl", name, now, value, "the nodes' kubelets set it; lab.down puts it back")
