"""Who can be asked just now: chosen before a run of verify, so that only what is of an absent node goes unseen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kharden.plan.model import ClusterPlan, NodePlan


@dataclass(frozen=True, slots=True)
class Witnesses:
    """The nodes of a cluster that answer; requests are made and answers are found again by the same choice.

    Attributes:
        away: nodes that can't be asked, with the reason.
        mute: control planes that can be asked, but whose API server is not ready, with the reason.
    """

    plan: ClusterPlan
    away: Mapping[str, str]
    mute: Mapping[str, str]

    @property
    def nodes(self) -> tuple[NodePlan, ...]:
        """Those that can be asked."""
        return tuple(node for node in self.plan.nodes if node.name not in self.away)

    @property
    def speakers(self) -> tuple[NodePlan, ...]:
        """Control planes that speak for the cluster; where none can, the first one has to say why."""
        able = tuple(
            node for node in self.plan.control_planes if node.name not in self.away and node.name not in self.mute
        )
        return able or self.plan.control_planes[:1]

    def others(self, target: NodePlan) -> tuple[NodePlan, ...]:
        """Whom to ask about a node besides itself, from the one before in the plan's order backwards.

        So everybody is asked for about as much.
        """
        index = self.plan.nodes.index(target)
        around = (*self.plan.nodes[index + 1 :], *self.plan.nodes[:index])
        return tuple(node for node in reversed(around) if node.name not in self.away)

    def server(self, node: NodePlan) -> NodePlan:
        """The control plane whose API server a node asks: its own, else one that speaks. None is left to a balancer."""
        return node if node in self.speakers else self.settings_asker(node)

    def settings_asker(self, node: NodePlan) -> NodePlan:
        """The control plane that asks a node's kubelet for its settings; they share the work."""
        return self.speakers[self.plan.nodes.index(node) % len(self.speakers)]


def everybody(plan: ClusterPlan) -> Witnesses:
    """Nobody is missing."""
    return Witnesses(plan, {}, {})
