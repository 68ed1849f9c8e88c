"""The reference of cluster.yaml for people, made from its schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kharden.spec import schema
from kharden.spec.presets import SETTINGS
from kharden.spec.problems import dotted

if TYPE_CHECKING:
    from kharden.spec.problems import KeyPath
    from kharden.spec.schema import Schema

_BY_PRESET = frozenset(setting.key for setting in SETTINGS)
_HEAD = """\
# cluster.yaml

<!-- Made from the model in kharden/spec/model.py: change it there. -->

One file says what a cluster is: `inventories/<cluster>/cluster.yaml`. It is UTF-8 and at most 1 MiB. Of YAML it
uses sections, lists, texts in their usual forms, whole numbers, `true` and `false`; anchors, aliases, tags and merge
keys are refused, and nothing that looks like a date, an octal number or a yes is anything but text. Unknown keys are
refused. A key marked as required has to be there.

This line at its top lets an editor check it while you type:

```yaml
# yaml-language-server: $schema=../../docs/reference/cluster.schema.json
```
"""


def reference() -> str:
    """Markdown: a table for each section, outermost first."""
    return "\n".join([_HEAD, *(_section(path, described) for path, described in schema.sections())])


def _section(path: KeyPath, described: Schema) -> str:
    title = f"`{dotted(path).replace('[0]', '[]')}`" if path else "The outermost section"
    lines = [
        f"## {title}",
        "",
        described["description"],
        "",
        "| key | takes | default | meaning |",
        "|---|---|---|---|",
    ]
    lines += [_row(path, key, described) for key in described["properties"]]
    return "\n".join(lines) + "\n"


def _row(path: KeyPath, key: str, described: Schema) -> str:
    outer: Schema = described["properties"][key]
    inner = schema.resolved(outer)
    takes = schema.takes(inner)
    if "items" in inner:
        takes += f", each item {schema.takes(schema.resolved(inner['items']))}"
    meaning = " ".join((outer.get("description") or inner["description"]).split())
    return f"| `{key}` | {takes} | {_default((*path, key), described, outer, inner)} | {meaning} |"


def _default(path: KeyPath, described: Schema, outer: Schema, inner: Schema) -> str:
    if path[-1] in described.get("required", ()):
        return "required"
    if "default" in outer:
        return f"`{json.dumps(outer['default'])}`"
    if path in _BY_PRESET:
        return "the preset's"
    return "see its own table" if "properties" in inner else "none"
