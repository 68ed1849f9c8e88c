# SPDX-License-Identifier: Apache-2.0
"""What kubeadm keeps in the cluster for those who join: compared with what it would upload now, and uploaded anew.

Init uploads its configuration once, and nothing of kubeadm's but an upgrade ever does again. A control plane that joins
later is made of what lies there, so it would get settings that cluster.yaml hasn't had for long.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import api_objects, kubeadm_phases
from .errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMESPACE = "kube-system"
_PHASE = ["upload-config", "all"]
_TIMEOUT = 120  # seconds; it takes one
# kubeadm prints objects as YAML, in the order of their names' letters (sigs.k8s.io/yaml), texts as blocks.
_OBJECT = re.compile(r"^\[dryrun\] Attached object:\n(.*?)(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
_CONFIG_MAP = re.compile(
    r"^data:\n(?P<data>.*?)^kind: ConfigMap\nmetadata:\n  name: (?P<name>\S+)$", re.MULTILINE | re.DOTALL
)
_TEXT = re.compile(r"^  (?P<key>\S+): \|\n(?P<text>(?:    .*\n|\n)+)", re.MULTILINE)
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


def wanted(source: kubeadm_phases.Source) -> dict[str, Texts]:
    """ConfigMap → its texts, as kubeadm would upload them now.

    Raises:
        NodeError: kubeadm refuses the configuration, or prints something else than it used to.
    """
    folder = Path(tempfile.mkdtemp(prefix="kharden-kubeadm-", dir=source.scratch))  # 0700
    try:
        (folder / "admin.conf").write_text(_NOWHERE)
        printed = kubeadm_phases.printed(source, _PHASE, folder)
    finally:
        shutil.rmtree(folder)
    found = {}
    for attached in _OBJECT.findall(printed):
        if shown := _CONFIG_MAP.search(attached):
            found[shown["name"]] = {
                text["key"]: re.sub(r"^    ", "", text["text"], flags=re.MULTILINE)
                for text in _TEXT.finditer(shown["data"])
            }
    if not found or not all(found.values()):
        raise NodeError(f"{source.program}: what it would upload can't be read: report this fault")
    return found


def differences(api: api_objects.Kubectl, texts: Mapping[str, Texts]) -> list[dict[str, Any]]:
    """What an upload would change, each with `path`, `action` and `diff`."""
    items: list[api_objects.Object] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}}
        for name in sorted(texts)
    ]
    live = api.found(items)
    changed = []
    for item in items:
        path = api_objects.identity(item)
        before, after = (live.get(path) or {}).get("data") or {}, texts[item["metadata"]["name"]]
        if before != after:
            changed.append(
                {"path": path, "action": "update" if path in live else "create", "diff": _diff(before, after)}
            )
    return changed


def _diff(before: Texts, after: Texts) -> str:
    lines: list[str] = []
    for key in sorted({*before, *after}):
        old, new = (texts.get(key, "").splitlines() for texts in (before, after))
        lines += difflib.unified_diff(old, new, key, key, lineterm="")
    return "\n".join(lines)


def upload(source: kubeadm_phases.Source) -> None:
    """Let kubeadm upload what it reads, with its roles.

    Raises:
        NodeError: it failed; its own words are in it.
    """
    done = subprocess.run(
        [source.program, "init", "phase", *_PHASE, f"--config={source.config}"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        env={"PATH": os.environ.get("PATH", os.defpath)},
    )
    if done.returncode:
        raise NodeError(f"kubeadm init phase {' '.join(_PHASE)}: {kubeadm_phases.complaint(done.stderr)}")
