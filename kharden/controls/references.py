"""Which benchmark asks for a control: read from benchmarks/*.yaml, which hold ids only.

A reference says "maps to", never "complies with". The lists cover more Kubernetes minors or fewer than a cluster has.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import yaml


def references(identifier: str) -> dict[str, list[str]]:
    """Benchmark → ids there that the control serves, such as {"cis-1.12": ["1.2.15"]}; empty where none does."""
    found = {}
    for name, controls in benchmarks().items():
        ids = [entry for entry, served_by in controls.items() if identifier in served_by]
        if ids:
            found[name] = ids
    return found


@cache
def benchmarks() -> dict[str, dict[str, tuple[str, ...]]]:
    """Every benchmark: its own ids, each with the controls that serve it."""
    folder = resources.files(__package__) / "benchmarks"
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        found[file.name.removesuffix(".yaml")] = {entry: tuple(controls) for entry, controls in content.items()}
    return found
