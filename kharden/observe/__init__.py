"""Looking at a running cluster: one collector a node gathers facts, the state suite holds them against the controls.

Nothing here reads what was rendered or imports what renders: what is right comes from the controls and from the plan,
so that a check never confirms the generator with itself.
"""

from kharden.observe.collection import collect
from kharden.observe.facts import Snapshot
from kharden.observe.model import Observation

__all__ = ["Observation", "Snapshot", "collect"]
