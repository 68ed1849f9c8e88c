"""Objects of the cluster itself, applied on the server's side once it is up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kharden.render.text import render

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan

# Every namespace that a new cluster has, its Pod Security level and the reason for it.
_SYSTEM = (
    ("kube-system", "privileged", "Static pods and the service proxy are parts of the machine and need what it has."),
    ("kube-node-lease", "restricted", "Nothing runs here."),
    ("kube-public", "restricted", "Nothing runs here."),
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Objects of the cluster: a file name and its YAML."""

    name: str
    content: bytes


def manifest_location(manifest: Manifest) -> str:
    """Where it lies below build/<cluster>/."""
    return f"cluster/{manifest.name}"


def cluster_manifests(plan: ClusterPlan) -> tuple[Manifest, ...]:
    """Namespaces with their Pod Security labels and default service accounts that hand out no token."""
    namespaces = [{"name": name, "level": level, "reason": reason} for name, level, reason in _SYSTEM]
    namespaces.append(
        {"name": "default", "level": plan.admission.pod_security, "reason": "The level of admission.podSecurity."}
    )
    values = {"namespaces": namespaces, "version": f"v{plan.minor}"}
    names = ("namespaces.yaml", "service-accounts.yaml")
    return tuple(Manifest(name, render(f"cluster/{name}", values)) for name in names)
