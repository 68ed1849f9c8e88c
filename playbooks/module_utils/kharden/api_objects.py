# SPDX-License-Identifier: Apache-2.0
"""Objects of the API as kubectl gives and takes them: whose they are, how two differ, and taints of nodes."""

from __future__ import annotations

import base64
import difflib
import json
import subprocess
from dataclasses import dataclass
from typing import Any

from .changes import HIDDEN
from .errors import NodeError

Object = dict[str, Any]

# The same as in kharden.plan.objects, which nodes don't have.
MANAGED_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "kharden"
PLACED_ANNOTATION = "kharden.dev/placed"
TAINTS_RECORD = "ConfigMap/kube-system/kharden-taints"

# How playbooks/tasks/join.yml describes the token of a join; it deletes that itself, unless it is cut off.
_JOINS = "kharden joins "
_TOKENS = ("--namespace=kube-system", "--field-selector=type=bootstrap.kubernetes.io/token")
# Their secret part stays where it is.
_DESCRIBED = '--output=jsonpath={range .items[*]}{.metadata.name} {.data.description}{"\\n"}{end}'

_TIMEOUT = 120  # seconds; the API server answers within one
_SERVER_SIDE = ("--server-side", "--force-conflicts", f"--field-manager={MANAGER}")
# What a server writes itself, anew with each change.
_RESTLESS = ("resourceVersion", "generation", "uid", "creationTimestamp")
# Where the values of a Secret stand, and a copy of them that `kubectl apply` leaves.
_CONFIDENTIAL = "Secret"
_VALUES = ("data", "stringData")
_COPY = "kubectl.kubernetes.io/last-applied-configuration"
_ANOTHER = f"{HIDDEN[:-1]}; another one)"


def identity(item: Object) -> str:
    """Kind, namespace (empty for objects of the cluster) and name: `NetworkPolicy/team/default-deny`."""
    metadata = item["metadata"]
    return f"{item['kind']}/{metadata.get('namespace', '')}/{metadata['name']}"


def is_ours(item: Object) -> bool:
    """Whether kharden placed this very object: it says so of itself, and the server says so of its fields.

    A copy under another name or elsewhere says of itself what the original is, so it isn't.
    """
    metadata = item["metadata"]
    says_so = (metadata.get("labels") or {}).get(MANAGED_LABEL) == MANAGER
    says_so = says_so and (metadata.get("annotations") or {}).get(PLACED_ANNOTATION) == identity(item)
    return says_so and any(
        entry.get("manager") == MANAGER and entry.get("operation") == "Apply"
        for entry in metadata.get("managedFields") or ()
    )


def differ(before: Object, after: Object) -> bool:
    """Whether an apply would change more than the server's own marks; who owns which field counts."""
    return _lasting(before, owners=True) != _lasting(after, owners=True)


def difference(before: Object | None, after: Object | None, name: str) -> str:
    """A unified diff of what a person decides about an object; of a Secret's values only which ones differ."""
    old, new = (
        json.dumps(_lasting(one, owners=False), indent=1, sort_keys=True).splitlines() if one else []
        for one in (_without_values(before, before), _without_values(after, before))
    )
    heads = (name if before else "/dev/null", name if after else "/dev/null")
    return "\n".join(difflib.unified_diff(old, new, *heads, lineterm="", n=1))


def holds_values(item: Object) -> bool:
    """Whether this is a Secret with something in it, or with a copy of that.

    The same as in kharden.render.plugin_manifest, which nodes don't have; a test holds one against the other.
    """
    if item.get("kind") != _CONFIDENTIAL:
        return False
    return any(item.get(section) for section in _VALUES) or _COPY in (item["metadata"].get("annotations") or {})


def stamp(item: Object) -> dict[str, str]:
    """What tells that a Secret was touched between two looks, and nothing of what is in it."""
    return {"stamp": item["metadata"]["resourceVersion"]} if item["kind"] == _CONFIDENTIAL else {}


def _without_values(item: Object | None, before: Object | None) -> Object | None:
    """`item` as it may be shown; a value that isn't as `before` is told apart."""
    if item is None or item["kind"] != _CONFIDENTIAL:
        return item
    known: Object = before or item
    shown = {section: _hidden(item[section], known.get(section)) for section in _VALUES if item.get(section)}
    metadata, notes = item["metadata"], item["metadata"].get("annotations") or {}
    if _COPY in notes:
        copies = _hidden({_COPY: notes[_COPY]}, known["metadata"].get("annotations"))
        metadata = metadata | {"annotations": notes | copies}
    return item | shown | {"metadata": metadata}


def _hidden(values: Any, before: Any) -> Any:  # noqa: ANN401  # whatever somebody wrote there
    if not isinstance(values, dict):
        return HIDDEN
    known = before if isinstance(before, dict) else {}
    return {key: HIDDEN if known.get(key, value) == value else _ANOTHER for key, value in values.items()}


def _lasting(item: Object, *, owners: bool) -> Object:
    metadata = {key: value for key, value in item["metadata"].items() if key not in (*_RESTLESS, "managedFields")}
    if owners:
        entries = item["metadata"].get("managedFields") or ()
        metadata["owners"] = [entry.get("fieldsV1") for entry in entries if entry.get("manager") == MANAGER]
    return {key: value for key, value in item.items() if key != "status"} | {"metadata": metadata}


@dataclass(frozen=True)
class Kubectl:
    """The API, by kubectl; what is sent goes through standard input."""

    program: str
    kubeconfig: str
    cache: str

    def found(self, items: list[Object]) -> dict[str, Object]:
        """Those of `items` that are there, by identity."""
        return self._listed(self._run("get", "--ignore-not-found", *self._whole(), "--filename=-", given=items))

    def all_of(self, kinds: str, *flags: str) -> list[Object]:
        """All objects of `kinds`, by names divided by commas."""
        return list(json.loads(self._run("get", kinds, *flags, "--output=json"))["items"])

    def managed(self, kinds: list[str]) -> dict[str, Object]:
        """All objects of these kinds that carry our label."""
        return self._listed(
            self._run(
                "get", ",".join(kinds), "--all-namespaces", f"--selector={MANAGED_LABEL}={MANAGER}", *self._whole()
            )
        )

    def join_tokens(self) -> list[tuple[Object, str]]:
        """Bootstrap tokens that kharden made for joins, each with what it is for: `kharden joins w1`."""
        found = []
        for line in self._run("get", "secrets", *_TOKENS, _DESCRIBED).splitlines():
            name, _, encoded = line.partition(" ")
            description = base64.b64decode(encoded).decode(errors="replace")
            if description.startswith(_JOINS):
                found.append(({"kind": "Secret", "metadata": {"namespace": "kube-system", "name": name}}, description))
        return found

    def applied(self, items: list[Object], *, dry: bool) -> dict[str, Object]:
        """What the server makes of `items`; with `dry` it would only."""
        if not items:
            return {}
        flags = ("--dry-run=server",) if dry else ()
        return self._listed(self._run("apply", *_SERVER_SIDE, *flags, *self._whole(), "--filename=-", given=items))

    def refusal(self, item: Object) -> str:
        """Why the server wouldn't make a new object, webhooks' word included; empty where it would."""
        try:
            self._run("create", "--dry-run=server", "--filename=-", given=[item])
        except NodeError as error:
            _, answered, why = error.message.partition("Error from server ")
            return why.rpartition('"STDIN": ')[2] if answered else ""
        return ""

    def delete(self, item: Object) -> None:
        """Remove one object."""
        metadata = item["metadata"]
        self._run("delete", item["kind"].lower(), f"--namespace={metadata.get('namespace', '')}", metadata["name"])

    def restart(self, name: str, namespace: str) -> None:
        """Let new pods take the place of a workload's, by its own rules; `name` is its kind and name."""
        self._run("rollout", "restart", name, f"--namespace={namespace}", f"--field-manager={MANAGER}")

    def patch_node(self, name: str, patch: list[Object]) -> None:
        """Change a node by a JSON patch."""
        self._run(
            "patch", "node", name, "--type=json", f"--field-manager={MANAGER}", "--patch-file=/dev/stdin", given=patch
        )

    def _whole(self) -> tuple[str, ...]:
        return ("--show-managed-fields", "--output=json")

    def _listed(self, text: str) -> dict[str, Object]:
        """One object, a list of them, or several documents one after the other."""
        decoder, found, text = json.JSONDecoder(), {}, text.strip()
        while text:
            answer, end = decoder.raw_decode(text)
            text = text[end:].lstrip()
            for item in answer["items"] if answer["kind"].endswith("List") else (answer,):
                found[identity(item)] = item
        return found

    def _run(self, *arguments: str, given: list[Object] | None = None) -> str:
        """What kubectl printed.

        Raises:
            NodeError: it failed; the server's own words are in it, unless they could quote a Secret that was sent.
        """
        document: object = given
        if given is not None and arguments[0] != "patch":
            document = {"apiVersion": "v1", "kind": "List", "items": given}
        done = subprocess.run(
            [self.program, f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.cache}", *arguments],
            input="" if document is None else json.dumps(document),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        if done.returncode:
            if any(holds_values(item) for item in given or ()):
                raise NodeError(f"kubectl {arguments[0]}: it failed among objects with Secrets {HIDDEN}")
            lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("Warning")]
            raise NodeError(f"kubectl {arguments[0]}: {' '.join(lines[:2]) or 'it failed without a word'}")
        return done.stdout


def taint_text(taint: Object) -> str:
    """A taint as kubectl writes it: key=value:effect, or key:effect."""
    value = taint.get("value") or ""
    return f"{taint['key']}={value}:{taint['effect']}" if value else f"{taint['key']}:{taint['effect']}"


def merged_taints(live: list[Object], wanted: list[Object], recorded: list[str]) -> list[Object]:
    """The taints that a node shall have: the wanted ones, and of the others those that kharden never set."""
    slots = {(taint["key"], taint["effect"]) for taint in wanted}
    kept = [
        taint for taint in live if (taint["key"], taint["effect"]) not in slots and taint_text(taint) not in recorded
    ]
    # One that is there already stays as it is: it knows since when.
    present = {taint_text(taint): taint for taint in live}
    fresh = [{key: value for key, value in taint.items() if value} for taint in wanted]
    return kept + [present.get(taint_text(taint), taint) for taint in fresh]


def recorded_taints(live: dict[str, Object], node: str) -> list[str]:
    """Which of a node's taints kharden set; nothing where there is no record, or it isn't one."""
    record = live.get(TAINTS_RECORD, {}).get("data") or {}
    try:
        taints = json.loads(record.get(node, "[]"))
    except ValueError:
        return []
    return [one for one in taints if isinstance(one, str)] if isinstance(taints, list) else []


def taints_patch(live: list[Object], taints: list[Object]) -> list[Object]:
    """The change of a node's taints, refused by the server where somebody else changes them meanwhile."""
    if not live:
        return [{"op": "add", "path": "/spec/taints", "value": taints}]
    test = {"op": "test", "path": "/spec/taints", "value": live}
    return [test, {"op": "replace", "path": "/spec/taints", "value": taints}]
