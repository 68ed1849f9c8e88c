"""The model of what marks a node in the cluster: labels and taints.

Syntax: k8s.io/apimachinery pkg/util/validation (IsQualifiedName, IsValidLabelValue).
"""

from __future__ import annotations

from typing import Annotated, Literal

from kharden.spec.section import Section
from kharden.spec.types import Matching

_WORD = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?){0,10}"

LabelKey = Annotated[
    str,
    Matching(
        "label_key",
        rf"({_DOMAIN}\/)?{_WORD}",
        "this isn't a label's key",
        "a word of letters, digits, hyphens, dots and underscores, after a domain or not, such as example.com/tier",
    ),
]
LabelValue = Annotated[
    str,
    Matching(
        "label_value",
        f"({_WORD})?",
        "this isn't a label's value",
        "a word of up to 63 letters, digits, inner hyphens, dots and underscores, or an empty one",
    ),
]
Zone = Annotated[
    str,
    Matching("zone", _WORD, "this isn't a zone's name", "1 to 63 letters, digits, inner hyphens, dots and underscores"),
]


class Taint(Section):
    """What keeps pods that don't tolerate it away from a node."""

    key: LabelKey
    """Its name."""
    value: LabelValue = ""
    """What tolerations compare with."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    """`NoSchedule`: no new pods. `PreferNoSchedule`: rather not. `NoExecute`: running pods have to go as well."""
