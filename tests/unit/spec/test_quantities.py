from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from kharden.spec.quantities import Quantity, amount, canonical


@pytest.mark.parametrize(
    ("written", "given_back"),
    [
        # As k8s.io/apimachinery pkg/api/resource canonicalizes them.
        ("1024Mi", "1Gi"),
        ("512Ki", "512Ki"),
        ("0Gi", "0"),
        ("0.5", "500m"),
        ("1.250", "1250m"),
        ("1000m", "1"),
        ("1000", "1k"),
        ("2048k", "2048k"),
        ("10", "10"),
    ],
)
def test_amounts_have_one_form(written: str, given_back: str) -> None:
    assert canonical(written) == given_back
    assert amount(written) == amount(given_back)


def test_a_number_is_an_amount_too() -> None:
    assert TypeAdapter(Quantity).validate_python(10, strict=True) == "10"


@pytest.mark.parametrize("wrong", [True, -1, 1.5, "", "1 Gi", "1gi", "1e3", "1.5Gi", "9E9", "9223372036854775808"])
def test_what_is_no_amount(wrong: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Quantity).validate_python(wrong, strict=True)
