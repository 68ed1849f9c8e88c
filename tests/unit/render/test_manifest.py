from __future__ import annotations

import copy
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest

from .stand_ins import GOLDEN

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA: dict[str, Any] = json.loads(resources.files("kharden.render").joinpath("manifest.schema.json").read_bytes())
Place = tuple[str | int, ...]


@pytest.fixture(scope="session")
def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture
def manifest(case: str) -> dict[str, Any]:
    """What was recorded, which test_golden holds to be what is rendered."""
    content: dict[str, Any] = json.loads((GOLDEN / case / "rendered/manifest.json").read_bytes())
    return content


@pytest.fixture
def small(validator: jsonschema.Draft202012Validator) -> dict[str, Any]:
    """A valid manifest with one of everything."""
    content: dict[str, Any] = json.loads((GOLDEN / "lab/rendered/manifest.json").read_bytes())
    content = one_of_each(content)
    validator.validate(content)
    return content


def one_of_each(value: Any) -> Any:  # noqa: ANN401  # JSON
    """The same with one item of each shape in every list, and one node of each role."""
    if isinstance(value, list):
        shapes = {(frozenset(item), item.get("sensitive")): item for item in value if isinstance(item, dict)}
        return [one_of_each(item) for item in shapes.values()] or value
    if not isinstance(value, dict):
        return value
    if "nodes" in value:
        roles = {node["role"]: (name, node) for name, node in value["nodes"].items()}
        value = value | {"nodes": dict(roles.values())}
    return {key: one_of_each(item) for key, item in value.items()}


def sections(value: object, place: Place = ()) -> Iterator[Place]:
    """Where the objects of a manifest lie."""
    if isinstance(value, dict):
        yield place
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from sections(item, (*place, key))


def at(manifest: dict[str, Any], place: Place) -> dict[str, Any]:
    value: Any = manifest
    for step in place:
        value = value[step]
    assert isinstance(value, dict)
    return value


def test_the_manifest_of_a_build_is_what_its_schema_says(
    validator: jsonschema.Draft202012Validator, manifest: dict[str, Any]
) -> None:
    validator.validate(manifest)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_key_is_needed_and_no_other_is_taken(
    validator: jsonschema.Draft202012Validator, small: dict[str, Any]
) -> None:
    places = list(sections(small))
    assert len(places) > 15
    for place in places:
        one = copy.deepcopy(small)
        at(one, place)["somethingElse"] = "more"
        assert not validator.is_valid(one), place
        # Of nodes any number but none may be there.
        for key in at(small, place) if place != ("nodes",) else ():
            one = copy.deepcopy(small)
            del at(one, place)[key]
            assert not validator.is_valid(one), (place, key)


WRONG: tuple[tuple[str, dict[str, object]], ...] = (
    ("file", {"path": "etc/shadow"}),
    ("file", {"path": "/etc//shadow"}),
    ("file", {"mode": "0664"}),
    ("file", {"mode": "0646"}),
    ("file", {"mode": 420}),
    ("file", {"mode": "644"}),
    ("file", {"owner": "Ro ot"}),
    ("file", {"sha256": "0" * 63}),
    ("file", {"sha256": "A" * 64}),
    ("file", {"restarts": ["rm -rf /"]}),
    ("file", {"sensitive": True}),
    ("file", {"store": "leaves"}),
    ("sensitive", {"mode": "0644"}),
    ("sensitive", {"mode": "0440"}),
    ("sensitive", {"sensitive": False}),
    ("sensitive", {"store": None}),
    ("sensitive", {"store": "elsewhere"}),
    ("program", {"mode": "0777"}),
    ("program", {"owner": "nobody"}),
    ("program", {"size": -1}),
    ("directory", {"mode": "1777"}),
    ("directory", {"kind": "socket"}),
    ("kubeadm", {"mode": "0600"}),
    ("kubeadm", {"by": "somebody"}),
)


@pytest.mark.parametrize(("kind", "change"), WRONG)
def test_what_no_node_should_get_is_no_manifest(
    validator: jsonschema.Draft202012Validator, small: dict[str, Any], kind: str, change: dict[str, object]
) -> None:
    def is_meant(entry: dict[str, Any]) -> bool:
        if entry["by"] == "kubeadm" or kind == "kubeadm":
            return str(entry["by"]) == kind
        return str(entry["kind"]) == ("file" if kind == "sensitive" else kind) and (
            bool(entry.get("sensitive")) == (kind == "sensitive")
        )

    entry = next(entry for entry in small["nodes"]["cp1"]["files"] if is_meant(entry))
    entry |= change
    assert not validator.is_valid(small)


@pytest.mark.parametrize(
    "change",
    [{"schema": 2}, {"schema": "1"}, {"kubernetes": "1.36"}, {"specDigest": ""}, {"nodes": {}}, {"nodes": {"A B": {}}}],
)
def test_the_head_of_a_manifest_is_judged_too(
    validator: jsonschema.Draft202012Validator, small: dict[str, Any], change: dict[str, object]
) -> None:
    assert not validator.is_valid(small | change)
