"""What every section of cluster.yaml has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """Strict, frozen, camelCase keys, nothing unknown; a rejected input never appears in an error."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        hide_input_in_errors=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )
