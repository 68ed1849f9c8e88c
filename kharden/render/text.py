"""The one Jinja environment, and the one way from a value to YAML."""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import jinja2
import yaml

from kharden.errors import KhardenError
from kharden.resources import folder

if TYPE_CHECKING:
    from collections.abc import Mapping


# What YAML and TOML take in quotes only if it is escaped, and JSON takes as it is: controls, line ends, non-characters.
_TO_ESCAPE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


class TemplateError(KhardenError):
    """A template and its values don't fit: a fault of the product, not of the user's file."""


class _UniqueKeys(yaml.CSafeLoader):
    """PyYAML lets the last of two equal keys win; here they are an error."""


def _unique_mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    if len(set(keys)) != len(keys):
        raise yaml.constructor.ConstructorError(None, None, "duplicate key", node.start_mark)
    return loader.construct_mapping(node)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def to_yaml(value: object) -> str:
    """`value` as flow YAML on one line: JSON is YAML but for a few characters, so nothing in it can leave its place."""
    return _TO_ESCAPE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  # configuration files, not HTML; each hole of a YAML file goes through to_yaml
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,  # templates don't change while we run
    )
    environment.filters["to_yaml"] = to_yaml
    return environment


@lru_cache(maxsize=64)  # many nodes have the same text
def _parse_back(template: str, text: str) -> None:
    for document in yaml.load_all(text, _UniqueKeys):
        if document is None:
            raise TemplateError(f"templates/{template}.j2: an empty document")


def render(template: str, values: Mapping[str, object]) -> bytes:
    """The text of `template` (a path below templates/) with its holes filled.

    Raises:
        TemplateError: a hole has no value, or the result of a YAML template is not YAML.
    """
    try:
        text = _environment().get_template(f"{template}.j2").render(values)
        if template.endswith((".yaml", ".conflist")):
            _parse_back(template, text)
    except (jinja2.TemplateError, yaml.YAMLError) as error:
        raise TemplateError(f"templates/{template}.j2: {error}".splitlines()[0], remedy="report this fault") from None
    return text.encode()
