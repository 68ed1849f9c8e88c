"""Plain data → `Cluster`, or findings in our own words: no text of pydantic's reaches a user."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from pydantic import ValidationError

from kharden.spec import schema
from kharden.spec.document import Refused
from kharden.spec.model import Cluster
from kharden.spec.problems import Finding, dotted
from kharden.spec.types import OWN_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic_core import ErrorDetails

    from kharden.spec.document import Document
    from kharden.spec.problems import KeyPath

_UNKNOWN = "extra_forbidden"
_MISSING = "missing"
_TOO_SHORT = "too_short"
# pydantic's last step to a key of a table that is wrong itself.
_A_KEY = "[key]"
_WRONG_KIND = frozenset({"string_type", "int_type", "bool_type", "tuple_type", "model_type", "dict_type"})
# Types of pydantic's errors that need no more than a sentence; what to write instead follows from the schema.
_MESSAGES = {
    "literal_error": "this key doesn't take this value",
    "greater_than_equal": "this number is out of range",
    "less_than_equal": "this number is out of range",
}
_KINDS = {str: "a text", bool: "true or false", int: "a number", tuple: "a list", dict: "a section"}


def judged(document: Document) -> Cluster | tuple[Finding, ...]:
    """The cluster that `document` describes, or what is wrong with it."""
    try:
        return Cluster.model_validate(document.data)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
    return tuple(
        _wrong_key(error, document) if _is_of_a_key(error, document) else _finding(error, document)
        for error in _without_echoes(errors, document)
    )


def _is_of_a_key(error: ErrorDetails, document: Document) -> bool:
    return error["loc"][-1:] == (_A_KEY,) and document.at(error["loc"]) is None


def _wrong_key(error: ErrorDetails, document: Document) -> Finding:
    path = error["loc"][:-1]
    names = schema.field(path[:-1])["propertyNames"]
    return Finding(path, error["msg"], f"write {schema.takes(names)}", document.keys[path])


def _without_echoes(errors: Sequence[ErrorDetails], document: Document) -> Iterator[ErrorDetails]:
    """Leave out what only follows from something else that is reported."""
    unknown = [error["loc"] for error in errors if error["type"] == _UNKNOWN]
    misspelt = {(*path[:-1], key) for path in unknown for key in _nearest(path)}
    for error in errors:
        path, value = error["loc"], document.at(error["loc"])
        if isinstance(value, Refused) or path in document.incomplete:
            continue
        if error["type"] == _MISSING and (path in misspelt or path[:-1] in document.incomplete):
            continue
        # Items that failed are not counted by pydantic, so a list may be too short for it only.
        if error["type"] == _TOO_SHORT and isinstance(value, tuple) and value:
            continue
        yield error


def _finding(error: ErrorDetails, document: Document) -> Finding:
    path, kind = error["loc"], error["type"]
    described = schema.field(path)
    if kind == _UNKNOWN:
        return Finding(path, "there is no such key", _known_keys(path), document.keys[path])
    if kind == _MISSING:
        return Finding(path, "this key is missing", f"add it; it takes {schema.takes(described)}")
    if kind in _WRONG_KIND:
        return _wrong_kind(path, document.at(path))
    if kind == _TOO_SHORT:
        default = "" if path[-1] in schema.field(path[:-1]).get("required", ()) else ", or remove the key"
        return Finding(path, "this list is empty", f"give at least {described['minItems']}{default}")
    if kind == "too_long":
        return Finding(path, "this list is too long", f"give at most {described['maxItems']}")
    message = error["msg"] if kind.startswith(OWN_ERRORS) else _MESSAGES.get(kind, "this value can't be used here")
    remedy = error.get("ctx", {}).get("remedy") or f"write {schema.takes(described)}"
    return Finding(path, message, remedy)


def _wrong_kind(path: KeyPath, value: object) -> Finding:
    described = schema.field(path)
    takes = schema.takes(described)
    remedies = {
        "integer": f"write {takes}, in plain digits without quotes",
        "boolean": f"write {takes}, without quotes",
        "array": "write a list: [one, another], or lines that begin with -",
        "object": _section(described),
    }
    remedy = remedies.get(described.get("type", ""), f"put it in quotes; it takes {takes}")
    if isinstance(value, dict | tuple) and described.get("type") == "string":
        remedy = f"write {takes}"
    return Finding(path, f"{_KINDS.get(type(value), 'this')} can't stand here", remedy)


def _section(described: schema.Schema) -> str:
    if schema.is_table(described):
        return f"write {schema.takes(described)}"
    return f"write a section; its keys are {', '.join(described.get('properties', {}))}"


def _known_keys(path: KeyPath) -> str:
    known = f"known here are {', '.join(schema.field(path[:-1])['properties'])}"
    homes = _homes(path)
    if len(homes) == 1:
        return f"it belongs in {homes[0] or 'the outermost section'}; {known}"
    for key in _nearest(path):
        return f"write {key}; {known}"
    return f"remove it; {known}"


def _homes(path: KeyPath) -> Sequence[str]:
    """Sections that know the last step of `path`."""
    return [
        dotted(section).replace("[0]", "[…]")
        for section, described in schema.sections()
        if path[-1] in described["properties"]
    ]


def _nearest(path: KeyPath) -> Sequence[str]:
    """The one known key that the last step of `path` is probably meant to be, if there is one."""
    if len(_homes(path)) == 1:
        return []
    known = {key.lower(): key for key in schema.field(path[:-1])["properties"]}
    return [known[key] for key in get_close_matches(str(path[-1])[:100].lower(), known, n=1)]
