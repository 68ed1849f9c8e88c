# SPDX-License-Identifier: Apache-2.0
"""What kubeadm keeps in the cluster: compared with what it would upload now, and uploaded anew.

Init uploads its configuration once, and nothing of kubeadm's but an upgrade ever does again. A control plane that joins
later is made of what lies there, and so are kubelets and the service proxy: they would get settings that cluster.yaml
hasn't had for long.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import api_objects, kubeadm_phases
from .errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMESPACE = "kube-system"
_TIMEOUT = 120  # seconds; it takes one
# kubeadm prints objects as YAML, in the order of their names' letters (sigs.k8s.io/yaml), texts as blocks.
_OBJECT = re.compile(r"^\[dryrun\] Attached object:\n(.*?)(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
_CONFIG_MAP = re.compile(
    r"^data:\n(?P<data>(?:  .*\n|\n)+)kind: ConfigMap\nmetadata:\n(?:  .*\n)*?  name: (?P<name>\S+)$", re.MULTILINE
)
_TEXT = re.compile(r"^  (?P<key>\S+): \|(?P<chomped>-?)\n(?P<text>(?:    .*\n|\n)+)", re.MULTILINE)
# A dry run asks for a kubeconfig and then makes do without any server.
_NOWHERE = """\
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "https://127.0.0.1:9"}}]
users: [{name: none, user: {}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
current-context: none
"""

Texts = dict[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """ConfigMaps that one phase of kubeadm's init makes, and what has to restart to read them."""

    phase: tuple[str, ...]
    restarts: str = ""


PARTS = (Part(("upload-config", "all")), Part(("addon", "kube-proxy"), restarts="daemonset/kube-proxy"))
RESTARTS = frozenset(part.restarts for part in PARTS if part.restarts)


def wanted(source: kubeadm_phases.Source) -> dict[Part, dict[str, Texts]]:
    """Of each part, ConfigMap → its texts, as kubeadm would upload them now.

    Raises:
        NodeError: kubeadm refuses the configuration, or prints something else than it used to.
    """
    return {part: _wanted(source, part) for part in PARTS}


def _wanted(source: kubeadm_phases.Source, part: Part) -> dict[str, Texts]:
    folder = Path(tempfile.mkdtemp(prefix="kharden-kubeadm-", dir=source.scratch))  # 0700
    try:
        (folder / "admin.conf").write_text(_NOWHERE)
        printed = kubeadm_phases.printed(source, list(part.phase), folder)
    finally:
        shutil.rmtree(folder)
    found = {
        shown["name"]: {text["key"]: _text(text) for text in _TEXT.finditer(shown["data"])}
        for attached in _OBJECT.findall(printed)
        if (shown := _CONFIG_MAP.search(attached))
    }
    if not found or not all(found.values()):
        raise NodeError(f"kubeadm init phase {' '.join(part.phase)}: what it would upload can't be read: report this")
    return found


def _text(block: re.Match[str]) -> str:
    text = re.sub(r"^    ", "", block["text"], flags=re.MULTILINE)
    return text.rstrip("\n") if block["chomped"] else text


def differences(
    api: api_objects.Kubectl, texts: Mapping[Part, Mapping[str, Texts]]
) -> list[tuple[Part, dict[str, Any]]]:
    """Of which part an upload would change what: `path`, `action`, `diff` and `restarts` of each ConfigMap."""
    items = {
        name: {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": _NAMESPACE}}
        for named in texts.values()
        for name in named
    }
    live = api.found(list(items.values()))
    changed = []
    for part, named in texts.items():
        for name, after in sorted(named.items()):
            path = api_objects.identity(items[name])
            before = (live.get(path) or {}).get("data") or {}
            if before != after:
                action, again = "update" if path in live else "create", [part.restarts] if part.restarts else []
                told = {"path": path, "action": action, "diff": _diff(before, after), "restarts": again}
                changed.append((part, told))
    return changed


def _diff(before: Texts, after: Texts) -> str:
    lines: list[str] = []
    for key in sorted({*before, *after}):
        old, new = (texts.get(key, "").splitlines() for texts in (before, after))
        lines += difflib.unified_diff(old, new, key, key, lineterm="")
    return "\n".join(lines)


def upload(source: kubeadm_phases.Source, part: Part) -> None:
    """Let kubeadm upload what it reads, with its roles.

    Raises:
        NodeError: it failed; its own words are in it.
    """
    done = subprocess.run(
        [source.program, "init", "phase", *part.phase, f"--config={source.config}"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        # Without the login's environment: kubeadm writes proxy variables into manifests.
        env={"PATH": os.environ.get("PATH", os.defpath)},
    )
    if done.returncode:
        raise NodeError(f"kubeadm init phase {' '.join(part.phase)}: {kubeadm_phases.complaint(done.stderr)}")


def restart(api: api_objects.Kubectl, name: str) -> None:
    """Restart who reads what was uploaded, one of `RESTARTS`."""
    api.restart(name, _NAMESPACE)
