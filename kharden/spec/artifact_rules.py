"""Rules about where programs come from and which processor they are for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.spec.problems import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.spec.model import Cluster
    from kharden.spec.network_rules import Rule


def mirror_is_named_where_it_is_used(cluster: Cluster) -> Iterator[Finding]:
    """`release` means the publishers' own addresses, `mirror` nothing but the mirror."""
    artifacts = cluster.spec.artifacts
    if artifacts.source == "mirror" and artifacts.mirror is None:
        remedy = "add artifacts.mirror: an https address, or the path of a folder"
        yield Finding(("spec", "artifacts", "source"), "a mirror is the source, and none is named", remedy)
    if artifacts.source == "release" and artifacts.mirror is not None:
        remedy = "write source: mirror, or remove it"
        yield Finding(("spec", "artifacts", "mirror"), "with source: release no mirror is asked", remedy)


def lab_nodes_are_of_one_architecture(cluster: Cluster) -> Iterator[Finding]:
    """They share the processor of the machine that they run on."""
    nodes = cluster.spec.nodes
    for i, node in enumerate(nodes):
        if cluster.spec.lab is not None and node.architecture != nodes[0].architecture:
            remedy = "give all of them the architecture of this machine"
            yield Finding(("spec", "nodes", i, "architecture"), "nodes of the lab share one processor", remedy)


ARTIFACT_RULES: tuple[Rule, ...] = (mirror_is_named_where_it_is_used, lab_nodes_are_of_one_architecture)
