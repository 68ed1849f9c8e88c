"""What a control plane can be asked: its API server, and its etcd through etcdctl."""

from __future__ import annotations

import base64
import json
import re
import secrets
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kharden.observe.collector.api import Api

_SECONDS = 60
_PAGE = 500
_LISTED = 100
_OFFENDERS = 20
_MESSAGE_LIMIT = 300
_SCRATCH = "/api/v1/namespaces/kube-system/secrets"
_SCRATCH_LABEL = "kharden.dev/scratch-of"
# k8s.io/apiserver value/encrypt: provider, its version and the key's name; what follows is ciphertext.
_PREFIX = re.compile(rb"k8s:enc:[a-z]+:v[0-9]+:[A-Za-z0-9._-]{1,63}:")


def kubelet_settings(api: Api, node: str, paths: list[list[str]]) -> list[Any]:
    """What a node's running kubelet says of itself: for each path [value], or [] where it says nothing."""
    settings = api.get(f"/api/v1/nodes/{node}/proxy/configz")["kubeletconfig"]
    return [_at(settings, path) for path in paths]


def _at(value: Any, path: list[str]) -> list[Any]:  # noqa: ANN401  # JSON
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return []
        value = value[key]
    return [value]


def try_pod(api: Api, pod: dict[str, Any]) -> dict[str, Any]:
    """Whether a pod would be admitted (a dry run on the server), and why not."""
    return _tried(api, "default", pod)


def try_namespaces(api: Api, pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Namespace → whether the pod would be admitted there. Those that are on their way out are left out."""
    namespaces = list(_listed(api, "/api/v1/namespaces"))
    names = [one["metadata"]["name"] for one in namespaces if "deletionTimestamp" not in one["metadata"]]
    return {name: _tried(api, name, pod) for name in names}


def _listed(api: Api, path: str) -> Iterator[Any]:
    """Everything in a list, a page at a time."""
    more = ""
    while True:
        page = api.get(f"{path}?limit={_LISTED}{more}")
        yield from page["items"]
        if not (token := page["metadata"].get("continue")):
            return
        more = f"&continue={quote(token)}"


def _tried(api: Api, namespace: str, pod: dict[str, Any]) -> dict[str, Any]:
    answer = api.tried(f"/api/v1/namespaces/{namespace}/pods", pod)
    del answer["object"]
    return answer


def default_accounts(api: Api) -> dict[str, bool]:
    """Namespace → whether a pod of its default service account gets a token unasked."""
    accounts = api.get("/api/v1/serviceaccounts?fieldSelector=metadata.name%3Ddefault")["items"]
    return {
        account["metadata"]["namespace"]: account.get("automountServiceAccountToken") is not False
        for account in accounts
    }


def object_names(api: Api, path: str) -> list[str]:
    """Names of the objects of a list, with their namespaces."""
    items = api.get(path)["items"] or []
    return [f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}" for item in items]


@dataclass(frozen=True)
class Scratch:
    """A secret of our own that exists while it is looked for; `canary` is what is in it."""

    name: str
    canary: str


@contextmanager
def scratch_secret(api: Api, node: str, *, make: bool) -> Iterator[Scratch | None]:
    """Make one and remove it, with whatever an interrupted run of this node left behind; None where none was made."""
    if not make:
        yield None
        return
    scratch = Scratch(f"kharden-verify-{node}-{secrets.token_hex(4)}", secrets.token_hex(16))
    metadata = {"name": scratch.name, "labels": {_SCRATCH_LABEL: node}}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"canary": scratch.canary}}
    made = False
    with suppress(RuntimeError):  # who asks for it says that there is none
        api.create(_SCRATCH, body)
        made = True
    try:
        yield scratch if made else None
    finally:
        with suppress(RuntimeError):  # the next run removes it
            api.delete(f"{_SCRATCH}?labelSelector={_SCRATCH_LABEL}%3D{node}")


def prefixes(command: list[str], folder: str) -> dict[str, Any]:
    """How the values below a folder of etcd begin."""
    return how_stored(_stored(command, folder))


def how_stored(pairs: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    """Encryption prefix → count, and the keys whose value has none.

    Values never leave this function: only the prefix up to the key's name does.
    """
    counts: dict[str, int] = {}
    plain: list[str] = []
    for key, value in pairs:
        prefix = _PREFIX.match(value)
        if prefix:
            counts[prefix[0].decode()] = counts.get(prefix[0].decode(), 0) + 1
        else:
            plain.append(key)
    return {"prefixes": counts, "plain": plain[:_OFFENDERS], "plain_count": len(plain)}


def _stored(command: list[str], folder: str) -> Iterator[tuple[str, bytes]]:
    """Key and value of everything below a folder, a page at a time."""
    start, end = folder, f"{folder[:-1]}{chr(ord(folder[-1]) + 1)}"
    more = True
    while more:
        call = subprocess.run(
            [*command, "get", start, end, f"--limit={_PAGE}", "--write-out=json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if call.returncode:
            raise RuntimeError(_last_line(call.stderr))
        page = json.loads(call.stdout)
        for entry in page.get("kvs", ()):
            key = base64.b64decode(entry["key"]).decode(errors="replace")
            yield key, base64.b64decode(entry.get("value", ""))
            # "!" sorts before every character that a name can go on with, and can stand in an argument (NUL can't).
            start = f"{key}!"
        more = page.get("more", False)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1][:_MESSAGE_LIMIT]
