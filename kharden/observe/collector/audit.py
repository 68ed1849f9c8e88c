"""The audit log of a control plane: at which level requests of our own are in it, and that what is secret isn't."""

from __future__ import annotations

import base64
import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kharden.observe.collector import probes

if TYPE_CHECKING:
    from collections.abc import Callable

    from kharden.observe.collector.cluster import Scratch

_TAIL = 8 << 20
_SECONDS = 60.0
# Stands in a path or a body for a name that nobody else uses.
_NAME = "NAME"


def levels(path: str, asked: dict[str, dict[str, Any]], last: str) -> dict[str, str]:
    """Question → the level of its event in the log, "None" where there is no event.

    Args:
        path: the log.
        asked: requests as `probes.probe` takes them.
        last: the one that is made at the end; it is always audited, so whatever came before is in the log by then.

    Raises:
        RuntimeError: not even the last event came in time.
    """
    names = {text: f"kharden-verify-{secrets.token_hex(8)}" for text in asked}
    for text in (*(text for text in asked if text != last), last):
        _ask(asked[text], names[text])
    found: dict[str, list[bytes]] = {text: [] for text in asked}

    def complete() -> bool:
        lines = _tail(Path(path))
        for text, name in names.items():
            found[text] = [line for line in lines if name.encode() in line]
        return bool(found[last])

    _await(complete, f"no event of {last}")
    return {text: json.loads(lines[0])["level"] if lines else "None" for text, lines in found.items()}


def _ask(asked: dict[str, Any], name: str) -> None:
    body = asked["body"]
    named = {"path": asked["path"].replace(_NAME, name), "body": body and body.replace(_NAME, name)}
    answer = probes.probe(**asked | named)
    if not answer["outcome"].isdecimal():
        raise RuntimeError(f"{asked['path']}: {answer['outcome']}")


def audited(path: str, scratch: Scratch | None) -> dict[str, Any]:
    """What the audit log says of the scratch secret's making: the level of that event, and whether it leaks it.

    Raises:
        RuntimeError: no scratch secret was made, or no event came in time.
    """
    if scratch is None:
        raise RuntimeError("no scratch secret was made")
    forms = (scratch.canary.encode(), base64.b64encode(scratch.canary.encode()))
    lines: list[bytes] = []
    created: list[dict[str, Any]] = []

    def complete() -> bool:
        lines[:] = [line for line in _tail(Path(path)) if scratch.name.encode() in line]
        created[:] = [json.loads(line) for line in lines if b'"verb":"create"' in line]
        return bool(created)

    _await(complete, "the secret's creation is not in the audit log")
    return {"level": created[0]["level"], "leaked": any(form in line for line in lines for form in forms)}


def _await(complete: Callable[[], bool], otherwise: str) -> None:
    """The API server writes an event after it has answered."""
    deadline = time.monotonic() + _SECONDS
    while not complete():
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise)
        time.sleep(0.05)  # the pace of looking


def _tail(path: Path) -> list[bytes]:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL))
        return stream.read().splitlines()
