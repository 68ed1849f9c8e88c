# SPDX-License-Identifier: Apache-2.0
"""Which version of Kubernetes this machine runs, and whether another one may take its place."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

from . import record
from .errors import NodeError

Version = tuple[int, ...]

MANIFEST = Path("/etc/kubernetes/manifests/kube-apiserver.yaml")
KUBELET = "/usr/local/bin/kubelet"

_IMAGE = re.compile(r"^\s*image: \S*/kube-apiserver:v(\d+\.\d+\.\d+)", re.MULTILINE)
_SAID = re.compile(r"Kubernetes v(\d+\.\d+\.\d+)")
_TIMEOUT = 60  # seconds; a kubelet says its version within one


@cache
def running(wanted: str, kubelet: str) -> str:
    """What runs here: what the API server's manifest says, or else the kubelet; empty where neither does.

    Args:
        wanted: the version, such as 1.36.3.
        kubelet: the digest of that version's kubelet. Where it is placed already it need not be asked.
    """
    return _of_api_server() or _of_kubelet(wanted, kubelet)


def refusal(wanted: str, kubelet: str) -> tuple[str, str] | None:
    """Why what runs here can't become `wanted`, and what to do; None where it can, or where nothing tells what runs."""
    now = running(wanted, kubelet)
    if not now or (_parsed(now)[:2] == _parsed(wanted)[:2] and _parsed(now) <= _parsed(wanted)):
        return None
    minor = ".".join(now.split(".")[:2])
    back = _parsed(now)[:2] == _parsed(wanted)[:2]
    why = "a version never goes back" if back else "there is no way from one minor version to another yet"
    what = f"it runs Kubernetes {now}, and cluster.yaml says {wanted}: {why}"
    return what, f"write {now}, or a later version of {minor}"


def _parsed(version: str) -> Version:
    return tuple(int(part) for part in version.split("."))


def _of_api_server() -> str:
    try:
        found = _IMAGE.search(MANIFEST.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return ""  # a worker, or the pod is missing, which its own phase puts right
    return found[1] if found else ""


def _of_kubelet(wanted: str, digest: str) -> str:
    try:
        placed = record.load(record.RECORD).get(KUBELET)
    except NodeError:  # it is damaged, which whoever needs it says
        placed = None
    if placed and placed.sha256 == digest and not placed.previous:
        return wanted
    try:
        done = subprocess.run(
            [KUBELET, "--version"], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # there is none, or it is no program: one is placed
    found = _SAID.match(done.stdout)
    return found[1] if found else ""
