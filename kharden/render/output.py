"""build/<cluster>/: what a reviewer reads and what apply uses. The only place here that touches the disk."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kharden import securefile
from kharden.errors import RefusedError
from kharden.render.manifests import manifest_location
from kharden.seal import fingerprint, seal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kharden.render.artefact import Artefact, NodeFiles, Store
    from kharden.render.cluster import Build

SCHEMA = 1
_SEALED = "sealed.json"


def write(build: Build, folder: Path, recipients: Mapping[Store, Sequence[str]]) -> tuple[str, ...]:
    """Write `build` to `folder`; returns the paths that changed, relative to it.

    Public files hold the same bytes for the same input. A sensitive one is sealed to the recipients of its store and
    written anew only when its content or the recipients change. What was there and isn't rendered any more goes.

    Raises:
        RefusedError: a symbolic link lies where a file or folder of the build belongs.
        WriteError: the disk doesn't take it.
    """
    _refuse_links(folder)
    files = _public_files(build)
    sealed, ciphertexts = _sealed_files(build, folder, recipients)
    files |= ciphertexts
    # Of thousands of files none has to outlast a power cut: these two lists tell whether each is whole.
    changed = [
        path for path, content in files.items() if securefile.write_if_changed(folder / path, content, lasting=False)
    ]
    lists = {"manifest.json": _json(_manifest(build)), _SEALED: _json(sealed)}
    changed += [path for path, content in lists.items() if securefile.write_if_changed(folder / path, content)]
    kept = {path for path in sealed if path not in ciphertexts}
    changed += _remove_others(folder, files.keys() | lists.keys() | kept)
    return tuple(sorted(changed))


def _refuse_links(folder: Path) -> None:
    if folder.is_symlink():
        raise _linked(folder)
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (path := Path(above, name)).is_symlink():
                raise _linked(path)


def _linked(path: Path) -> RefusedError:
    return RefusedError(f"{path}: a symbolic link lies where rendered files belong", remedy="remove it")


def _location(node: str, file: Artefact) -> str:
    return f"nodes/{node}/files{file.path}{'.age' if file.sensitive else ''}"


def _public_files(build: Build) -> dict[str, bytes]:
    files = {_location(node.node, file): file.content for node in build.nodes for file in node.files if not file.store}
    files |= {manifest_location(item): item.content for item in build.cluster}
    return files | {f"ansible/{name}": content for name, content in build.ansible.items()}


def _sealed_files(
    build: Build, folder: Path, recipients: Mapping[Store, Sequence[str]]
) -> tuple[dict[str, dict[str, str]], dict[str, bytes]]:
    """The record of all sealed files, and those that must be sealed anew."""
    before = _read_record(folder / _SEALED)
    record: dict[str, dict[str, str]] = {}
    fresh: dict[str, bytes] = {}
    for node in build.nodes:
        for file in node.files:
            if file.store is None:
                continue
            path = _location(node.node, file)
            wanted = {"plaintext": file.sha256, "recipients": fingerprint(recipients[file.store])}
            old = before.get(path, {})
            if wanted.items() <= old.items() and _digest(folder / path) == old.get("ciphertext"):
                record[path] = old
                continue
            fresh[path] = seal(file.content, recipients[file.store])
            record[path] = wanted | {"ciphertext": hashlib.sha256(fresh[path]).hexdigest()}
    return record, fresh


def _read_record(path: Path) -> dict[str, dict[str, str]]:
    """The record of the last time; a missing or damaged one only means that all is sealed anew."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    rows = record.items() if isinstance(record, dict) else ()
    return {path: row for path, row in rows if isinstance(row, dict)}


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _remove_others(folder: Path, wanted: set[str]) -> list[str]:
    """What isn't wanted, and folders that are empty then. No link is there; see `_refuse_links`."""
    removed = []
    start = len(f"{folder}/")
    for above, folders, files in os.walk(folder, topdown=False):
        for path in (f"{above}/{name}" for name in files):
            if path[start:] not in wanted:
                Path(path).unlink()
                removed.append(path[start:])
        for name in folders:
            with suppress(OSError):  # there is something in it
                Path(f"{above}/{name}").rmdir()
    return removed


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _manifest(build: Build) -> dict[str, Any]:
    plan = build.plan
    return {
        "schema": SCHEMA,
        "cluster": plan.name,
        "specDigest": plan.spec_digest,
        "kubernetes": plan.kubernetes,
        "lab": plan.lab,
        "artifacts": {
            "official": plan.artifacts.official,
            "mirror": plan.artifacts.mirror,
            "lock": {"serial": build.lock.serial, "sha256": build.lock.sha256},
        },
        "nodes": {
            node.name: {
                "role": node.role,
                "address": str(node.address),
                **({"secondAddress": str(node.addresses[1])} if len(node.addresses) > 1 else {}),
                "architecture": node.architecture,
                **_node_manifest(files),
            }
            for node, files in zip(plan.nodes, build.nodes, strict=True)
        },
        "manifests": _digests({manifest_location(item): item.content for item in build.cluster}),
        "ansible": _digests({f"ansible/{name}": content for name, content in build.ansible.items()}),
    }


def _digests(files: Mapping[str, bytes]) -> list[dict[str, str]]:
    return [{"path": path, "sha256": hashlib.sha256(content).hexdigest()} for path, content in files.items()]


def _node_manifest(node: NodeFiles) -> dict[str, Any]:
    folders = [
        {
            "path": item.path,
            "kind": "directory",
            "by": "kharden",
            "owner": item.owner,
            "group": item.group,
            "mode": f"{item.mode:04o}",
            "controls": list(item.controls),
        }
        for item in node.folders
    ]
    programs = [
        {
            "path": item.path,
            "kind": "program",
            "by": "kharden",
            "owner": "root",
            "group": "root",
            "mode": "0755",
            "sha256": item.sha256,
            "size": item.size,
            "restarts": list(item.restarts),
            "controls": list(item.controls),
        }
        for item in node.programs
    ]
    files = [_file_manifest(item) for item in node.files]
    others = [{"path": item.path, "kind": "file", "by": "kubeadm"} for item in node.by_kubeadm]
    images = [
        {
            "reference": item.reference,
            "digest": item.digest,
            "archiveSha256": item.archive_sha256,
            "size": item.size,
        }
        for item in node.images
    ]
    return {"files": [*folders, *programs, *files, *others], "images": images}


def _file_manifest(file: Artefact) -> dict[str, Any]:
    return {
        "path": file.path,
        "kind": "file",
        "by": "kharden",
        "owner": file.owner,
        "group": file.group,
        "mode": f"{file.mode:04o}",
        "sha256": file.sha256,
        "sensitive": file.sensitive,
        "store": file.store,
        "restarts": list(file.restarts),
        "validate": list(file.validate),
        "controls": list(file.controls),
    }
