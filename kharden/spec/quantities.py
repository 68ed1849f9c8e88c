"""Amounts of resources as Kubernetes writes them (k8s.io/apimachinery pkg/api/resource/quantity.go), and their names.

Taken are whole numbers with any suffix, and plain numbers of up to three decimals: what quotas, limits and reservations
need, and nothing whose value would be rounded.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from kharden.spec.types import OWN_ERRORS, Matching

_NUMBER = r"(0|[1-9][0-9]{0,14})"
_EXPRESSION = rf"{_NUMBER}(\.[0-9]{{1,3}}|m|[kMGTPE]|[KMGTPE]i)?"
_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
# An int64 of whole units is as far as the API goes.
_LARGEST = 2**63 - 1
_AN_AMOUNT = "an amount, such as 500m or 2Gi"


def _quantity(value: object) -> str:
    # 10 in cluster.yaml is a number, 10Gi a text; to Kubernetes both are amounts.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not re.fullmatch(_EXPRESSION, text) or amount(text) > _LARGEST:
        raise PydanticCustomError(f"{OWN_ERRORS}quantity", "this isn't an amount that Kubernetes knows")
    return canonical(text)


def amount(quantity: str) -> Decimal:
    """The value of an amount in whole units: cores, bytes, objects."""
    number = quantity.rstrip("mkMGTPEKi")
    suffix = quantity.removeprefix(number)
    return Decimal(number) / 1000 if suffix == "m" else Decimal(number) * (_DECIMAL | _BINARY)[suffix]


def canonical(quantity: str) -> str:
    """The one form in which an API server gives an amount back: the largest suffix that leaves a whole number."""
    value = amount(quantity)
    if value != value.to_integral_value():
        return f"{int(value * 1000)}m"
    whole = int(value)
    # A binary amount below 1024 is written as a decimal one.
    binary = quantity.endswith("i") and whole >= 2**10
    suffixes = _BINARY if binary else _DECIMAL
    for suffix, unit in reversed(suffixes.items()):
        if whole and whole % unit == 0:
            return f"{whole // unit}{suffix}"
    return str(whole)


Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": f"^(?:{_EXPRESSION})$",
            "minimum": 0,
            "patternErrorMessage": f"write {_AN_AMOUNT}",
        }
    ),
]
# k8s.io/kubernetes pkg/apis/core/v1/helper: what a ResourceQuota may count, besides what an extension adds.
_COUNTED = (
    r"((requests|limits)\.)?(cpu|memory|ephemeral-storage)|requests\.storage|resourcequotas|secrets|configmaps|"
    r"pods|services(\.loadbalancers|\.nodeports)?|persistentvolumeclaims|replicationcontrollers|"
    r"count\/[a-z][a-z0-9]{0,62}(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?){0,8}|"
    r"requests\.[a-z0-9][-a-z0-9.]{0,100}\/[A-Za-z0-9][-A-Za-z0-9_.]{0,60}|"
    r"[a-z0-9][-a-z0-9.]{0,150}\.storageclass\.storage\.k8s\.io\/(requests\.storage|persistentvolumeclaims)"
)
QuotaResource = Annotated[
    str,
    Matching(
        "quota_resource",
        f"({_COUNTED})",
        "a quota doesn't count this",
        "what a quota counts, such as limits.memory or count/jobs.batch",
    ),
]
