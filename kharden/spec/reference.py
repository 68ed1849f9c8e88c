"""The reference of cluster.yaml for people, made from its schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kharden.spec import schema
from kharden.spec.problems import dotted

if TYPE_CHECKING:
    from kharden.spec.schema import Schema

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
    return "\n".join([_HEAD, *(_section(dotted(path), described) for path, described in schema.sections())])


def _section(path: str, described: Schema) -> str:
    title = f"`{path.replace('[0]', '[]')}`" if path else "The outermost section"
    lines = [
        f"## {title}",
        "",
        described["description"],
        "",
        "| key | takes | default | meaning |",
        "|---|---|---|---|",
    ]
    lines += [_row(key, described) for key in described["properties"]]
    return "\n".join(lines) + "\n"


def _row(key: str, described: Schema) -> str:
    outer: Schema = described["properties"][key]
    inner = schema.resolved(outer)
    takes = schema.takes(inner)
    if "items" in inner:
        takes += f", each item {schema.takes(schema.resolved(inner['items']))}"
    default = "see its own table" if "properties" in inner else "none"
    if "default" in outer:
        default = f"`{json.dumps(outer['default'])}`"
    if key in described.get("required", ()):
        default = "required"
    meaning = (outer.get("description") or inner["description"]).replace("\n", " ")
    return f"| `{key}` | {takes} | {default} | {meaning} |"
