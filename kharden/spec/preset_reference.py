"""The page of presets for people, made from their table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kharden.spec.presets import SETTINGS
from kharden.spec.problems import dotted

if TYPE_CHECKING:
    from kharden.spec.presets import Setting

_HEAD = """\
# Presets

<!-- Made from the table in kharden/spec/presets.py: change it there. -->

`spec.preset` says what a cluster is measured by. `baseline` is a usable floor, `cis` (the default) follows the CIS
Kubernetes Benchmark 1.12, `stig` also DISA's Kubernetes STIG V2R6 where a setting can. Not in the table is what every
preset has alike: TLS 1.2 or later with forward secret and authenticated suites, nobody anonymous, encryption at rest,
an audit log, profiling off, no read-only port, streams that end after five idle minutes.

A key that cluster.yaml doesn't have gets the preset's value. A value that is weaker than the preset's is refused unless
`spec.waivers` has an unexpired waiver of the control in the last column; `verify` then reports that control as waived.

| setting | baseline | cis | stig | asked for by | a weaker value needs a waiver of |
|---|---|---|---|---|---|
"""


def presets_page() -> str:
    """Markdown: a row for each setting."""
    return _HEAD + "".join(map(_row, SETTINGS))


def _row(setting: Setting[Any]) -> str:
    name = f"`{dotted(setting.key)}`: {setting.what}" if setting.key else setting.what
    values = " | ".join(f"`{json.dumps(value)}`" for value in (setting.baseline, setting.cis, setting.stig))
    waived = f"{setting.control} (weaker than `{json.dumps(setting.floor)}`)" if setting.floor else setting.control
    return f"| {name} | {values} | {', '.join(setting.sources)} | {waived or 'none is weaker'} |\n"
