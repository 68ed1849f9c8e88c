"""The collector as one text that a node's python3 runs from its standard input."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

_PACKAGE = "kharden.observe.collector"
# In the order of their imports.
_MODULES = (
    *("files", "processes", "kernel", "firewall", "probes", "reach", "api", "cluster", "audit", "scratch", "objects"),
    *("pod", "sshd", "packages", "journal", "features"),
    "",
)
# Module by module, under the names that they have here, so that their imports of each other work there as well.
_START = """\
import json, sys, types
sources, request = json.loads({payload})
for name in ("kharden", "kharden.observe", "{package}"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
for name, source in sources:
    full = "{package}" + (name and "." + name)
    module = sys.modules.setdefault(full, types.ModuleType(full))
    exec(compile(source, full, "exec"), module.__dict__)
    if name:
        setattr(sys.modules["{package}"], name, module)
json.dump(sys.modules["{package}"].collect(request), sys.stdout)
"""


def program(request: dict[str, Any]) -> str:
    """Python source that prints the document for `request`; it holds no secret.

    A dataclass looks its module up in sys.modules, so every module is put there before it runs.
    """
    folder = resources.files(_PACKAGE)
    sources = [(name, (folder / f"{name or '__init__'}.py").read_text(encoding="utf-8")) for name in _MODULES]
    return _START.format(payload=repr(json.dumps([sources, request])), package=_PACKAGE)
