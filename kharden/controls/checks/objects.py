"""The kinds of checks of what the cluster is told: marks of nodes, and what bounds and closes namespaces.

What each must be is the plan's: these kinds say only which of it is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class NodeMarks:
    """The node has every label and taint that the plan gives it; what others set besides is theirs."""


@dataclass(frozen=True, slots=True)
class NamespaceLevels:
    """Every namespace of the plan has its Pod Security labels: level and version, for enforce, warn and audit."""


@dataclass(frozen=True, slots=True)
class NamespaceObjects:
    """Every namespace has the objects of this kind that the plan gives it, and they say what the plan says.

    Attributes:
        kind: of which kind.
        path: where the API lists them.
    """

    kind: Literal["NetworkPolicy", "ResourceQuota", "LimitRange"]
    path: str


@dataclass(frozen=True, slots=True)
class BoundsEnforced:
    """In each namespace with a quota (dry runs): a pod over it is refused, one that says nothing gets the limits."""


@dataclass(frozen=True, slots=True)
class PoliciesEnforced:
    """From a pod of `default`, which its policies close: DNS is reached, another port of the same pods isn't."""
