"""The JSON Schema of cluster.yaml, made from the model: for editors, for the reference and for error messages."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from kharden.spec.model import API_VERSION, Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.spec.problems import KeyPath

# A JSON Schema, or the part of one that describes a value.
Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@cache
def json_schema() -> Schema:
    """The whole schema (draft 2020-12). Shared by its callers, who only read it."""
    head = {
        "$schema": _DIALECT,
        "$id": f"https://{API_VERSION}/cluster.schema.json",
        "title": "cluster.yaml of kharden",
    }
    tidied: Schema = _tidied(Cluster.model_json_schema(by_alias=True, mode="validation"))
    return head | tidied


def field(path: KeyPath) -> Schema:
    """The part that describes the value at `path`, references followed; empty where the model has no such value."""
    schema = json_schema()
    for step in path:
        schema = resolved(schema.get("items", {}) if isinstance(step, int) else _value(schema, step))
    return schema


def _value(schema: Schema, key: str) -> Schema:
    known: Schema = schema.get("properties", {}).get(key) or (
        schema["additionalProperties"] if is_table(schema) else {}
    )
    return known


def is_table(schema: Schema) -> bool:
    """Whether it is a section with keys that a person chooses."""
    return "propertyNames" in schema


def sections() -> Iterator[tuple[KeyPath, Schema]]:
    """Every section with its path, outermost first, as cluster.yaml nests them; `0` stands for any item of a list."""
    yield from _sections((), json_schema())


def _sections(path: KeyPath, schema: Schema) -> Iterator[tuple[KeyPath, Schema]]:
    if "properties" in schema:
        yield path, schema
    for key, inner in schema.get("properties", {}).items():
        yield from _sections((*path, key), resolved(inner))
    if "items" in schema:
        yield from _sections((*path, 0), resolved(schema["items"]))


def takes(schema: Schema) -> str:
    """What a value may be, as a noun phrase: "a whole number from 1 to 65535"."""
    if "patternErrorMessage" in schema:
        return str(schema["patternErrorMessage"]).removeprefix("write ")
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if schema.get("type") == "integer":
        return f"a whole number from {schema['minimum']} to {schema['maximum']}"
    if is_table(schema):
        return (
            f"a section; each key {takes(schema['propertyNames'])}, each value {takes(schema['additionalProperties'])}"
        )
    return {"array": "a list", "object": "a section", "boolean": "true or false"}.get(schema.get("type", ""), "a text")


def resolved(schema: Schema) -> Schema:
    """What `schema` refers to; itself where it doesn't."""
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].rpartition("/")[2]
    definition: Schema = json_schema()["$defs"][name]
    return definition


def _tidied(schema: Any) -> Any:  # noqa: ANN401  # JSON
    """Without the model's class names, nulls (no key takes one) and defaults that a section's own keys have."""
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "patternProperties" in schema:  # which leaves all other keys free; here no other key may be
        ((pattern, values),) = schema["patternProperties"].items()
        rest = {key: value for key, value in schema.items() if key != "patternProperties"}
        schema = rest | {"propertyNames": schema.get("propertyNames", {}) | {"pattern": pattern}}
        schema["additionalProperties"] = values
    if "anyOf" in schema:
        choice = next(inner for inner in schema["anyOf"] if inner != {"type": "null"})
        schema = choice | {key: value for key, value in schema.items() if key != "anyOf"}
    return {
        key: _tidied(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
        and not (key == "default" and ("$ref" in schema or value is None))
    }
