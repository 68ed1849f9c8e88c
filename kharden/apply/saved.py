"""A plan in a file: what was seen, of which build, so that exactly that is applied or nothing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kharden import securefile
from kharden.errors import InputError, MissingError, RefusedError
from kharden.resources import folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from kharden.apply.choice import Choice
    from kharden.apply.runner import ApplyResult

_SCHEMA = 1
_LARGEST = 64 << 20  # bytes
_FORM = {"kharden": str, "cluster": str, "at": str, "build": str, "limit": list, "phases": list, "nodes": dict}
_AGAIN = "look at a new plan"


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan that was read back.

    Attributes:
        path: where it lies.
        document: what is in it.
    """

    path: Path
    document: Mapping[str, Any]

    @property
    def limit(self) -> str | None:
        """As --limit said it."""
        return ",".join(self.document["limit"]) or None

    @property
    def tags(self) -> str | None:
        """As --tags said it."""
        return ",".join(self.document["phases"]) or None

    def refuse_other_build(self, build: str) -> None:
        """What would be applied is what was planned.

        Raises:
            RefusedError: it isn't.
        """
        if self.document["kharden"] != program():
            raise RefusedError(f"{self.path}: another kharden made this plan", remedy=_AGAIN)
        if self.document["build"] != build:
            raise RefusedError(f"{self.path}: the build was rendered anew since this plan", remedy=_AGAIN)

    def refuse_other_nodes(self, now: ApplyResult) -> None:
        """What a look finds now is what the plan found.

        Raises:
            RefusedError: a node moved on; each is a line that says what moved.
        """
        planned: dict[str, list[Any]] = self.document["nodes"]
        found = _by_node(now)
        lines = [
            f"{node}: has moved on since the plan of {self.document['at']}: {moved}"
            for node in sorted(planned.keys() | found.keys())
            if (moved := _moved(planned.get(node, []), found.get(node, [])))
        ]
        if lines:
            raise RefusedError(lines[0], remedy=f"nothing was changed; {_AGAIN}", details=lines)


def program() -> str:
    """What stands for this kharden: the digest of what it runs on nodes, and in which order."""
    root = folder("playbooks")
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.suffix in {".py", ".yml"} and path.is_file():
            digest.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def save(path: Path, cluster: str, choice: Choice, result: ApplyResult, *, now: datetime) -> None:
    """Write what a look found. It holds what `plan` shows, and no secret, as that doesn't.

    Raises:
        WriteError: it can't be written.
    """
    document = {
        "schema": _SCHEMA,
        "kharden": program(),
        "cluster": cluster,
        "at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "build": result.build,
        "limit": choice.limit,
        "phases": choice.phases,
        "nodes": _by_node(result),
        "restarts": [restart.as_document() for restart in result.restarts],
        "notes": result.notes,
    }
    securefile.write(path, json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n", mode=0o600)


def load(path: Path, cluster: str) -> SavedPlan:
    """What `save` wrote to `path`, for this cluster.

    Raises:
        MissingError: it can't be read.
        InputError: it is no saved plan, of another schema or of another cluster.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        raise MissingError(f"{path}: can't be read ({error.strerror})", remedy="write one with plan --out") from None
    try:
        document = json.loads(content) if len(content) <= _LARGEST else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or "schema" not in document:
        raise InputError(f"{path}: is no saved plan", remedy="write one with plan --out")
    if document["schema"] != _SCHEMA:
        raise InputError(f"{path}: has schema {document['schema']!r}, not {_SCHEMA}", remedy=_AGAIN)
    if not _is_whole(document):
        raise InputError(f"{path}: is a damaged plan", remedy=_AGAIN)
    if document["cluster"] != cluster:
        raise InputError(f"{path}: is a plan of the cluster {document['cluster'][:60]!a}", remedy=f"not of {cluster}")
    return SavedPlan(path, document)


def _is_whole(document: Mapping[str, Any]) -> bool:
    if not all(isinstance(document.get(key), form) for key, form in _FORM.items()):
        return False
    names = [*document["limit"], *document["phases"]]
    items = [item for listed in document["nodes"].values() for item in (listed if isinstance(listed, list) else [None])]
    return all(isinstance(name, str) for name in names) and all(
        isinstance(item, dict) and isinstance(item.get("task"), str) and isinstance(item.get("changes"), list)
        for item in items
    )


def _by_node(result: ApplyResult) -> dict[str, list[dict[str, Any]]]:
    """What would change on each node, and what would restart there, in a form that JSON gives back as it was."""
    nodes: dict[str, list[dict[str, Any]]] = {}
    for change in result.changes:
        nodes.setdefault(change.node, []).append({"task": change.task, "changes": list(change.details)})
    for restart in result.restarts:
        nodes.setdefault(restart.node, []).append({"task": "Restarts", "changes": [{"name": restart.what}]})
    back: dict[str, list[dict[str, Any]]] = json.loads(json.dumps(nodes))
    return back


def _moved(planned: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]]) -> str:
    """What differs; empty where nothing does."""
    before, after = Counter(_items(planned)), Counter(_items(found))
    gone, come = list((before - after).elements()), list((after - before).elements())
    names = {name for name, _ in gone} & {name for name, _ in come}
    told = [f"{name} is otherwise than it was" for name in dict.fromkeys(name for name, _ in gone) if name in names]
    told += [f"{name} is done already" for name, _ in gone if name not in names]
    told += [f"{name} has come" for name, _ in come if name not in names]
    return "; ".join(dict.fromkeys(told))


def _items(tasks: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Each change by a name that a person knows, with all that is known of it."""
    return [
        (_name(task["task"], change), json.dumps(change, sort_keys=True))
        for task in tasks
        for change in task["changes"] or [{}]
    ]


def _name(task: str, change: object) -> str:
    known = change if isinstance(change, dict) else {}
    what = " ".join(str(known[key]) for key in ("action", "path", "name") if key in known)
    return f"{task}: {what}" if what else task
