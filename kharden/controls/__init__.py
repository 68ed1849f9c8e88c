"""What a hardened cluster is held to: each control once, in typed Python; benchmarks only refer to them.

Nothing here knows how a cluster is made. What a value must be in one cluster (its addresses, its limits) is named
(`FromPlan`) and resolved where it is judged.
"""

from kharden.controls.catalogue import CONTROLS, control
from kharden.controls.model import Control, FromPlan
from kharden.controls.references import references

__all__ = ["CONTROLS", "Control", "FromPlan", "control", "references"]
