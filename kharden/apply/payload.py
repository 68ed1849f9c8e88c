"""What the converge module is given: all files of a node in one text. It lies on tmpfs, and only while Ansible runs."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from typing import TYPE_CHECKING, Any

from kharden.apply.build import read
from kharden.errors import IntegrityError, MissingError
from kharden.seal import unseal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kharden.apply.build import BuildFolder
    from kharden.seal import Identities


def payload(build: BuildFolder, node: str, identities: Identities) -> bytes:
    """The argument of the converge module for `node`: base64 of gzip of JSON."""
    entries = [_entry(build, node, entry, identities) for entry in build.files(node)]
    text = json.dumps({"schema": 1, "files": entries}, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(text, compresslevel=6, mtime=0))


def _entry(build: BuildFolder, node: str, entry: Mapping[str, Any], identities: Identities) -> dict[str, Any]:
    kept = {key: entry[key] for key in ("path", "owner", "group", "mode")}
    if entry["kind"] == "directory":
        return kept | {"kind": "directory"}
    kept |= {"kind": "file", "sha256": entry["sha256"], "restarts": entry["restarts"]}
    if entry["kind"] == "program":
        return kept
    content = _content(build, node, entry, identities)
    if content is not None:
        kept["content"] = base64.b64encode(content).decode()
    if entry["validate"]:
        kept["validate"] = entry["validate"]
    return kept | {"sensitive": entry["sensitive"]}


def _content(build: BuildFolder, node: str, entry: Mapping[str, Any], identities: Identities) -> bytes | None:
    """The content, or None where this machine may not open its store: the node then only compares digests."""
    if not entry["sensitive"]:
        return build.public_content(node, entry)
    path = build.location(node, entry)
    ciphertext = read(path)
    try:
        content = unseal(ciphertext, identities, where=path)
    except MissingError:
        return None
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise IntegrityError(f"{path}: is not what the manifest lists", remedy="run `invoke render` again")
    return content
