"""build/<cluster>/ as apply reads it: the manifest, and the bytes that it lists."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kharden.errors import InputError, IntegrityError, MissingError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class BuildFolder:
    """A build that was read.

    Attributes:
        folder: where it lies.
        manifest: manifest.json (see docs for its schema).
        digest: SHA-256 of its bytes, which stands for the whole build.
    """

    folder: Path
    manifest: Mapping[str, Any]
    digest: str = ""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes, in the order of the plan."""
        return tuple(self.manifest["nodes"])

    @property
    def control_planes(self) -> tuple[str, ...]:
        """Names of those of them that are control planes."""
        return tuple(name for name in self.nodes if self.is_control_plane(name))

    def is_control_plane(self, node: str) -> bool:
        """Whether the node is one."""
        return bool(self.manifest["nodes"][node]["role"] == "control-plane")

    def is_worker(self, node: str) -> bool:
        """Whether the node is one; what isn't is a control plane, or a machine of etcd that those need."""
        return bool(self.manifest["nodes"][node]["role"] == "worker")

    def files(self, node: str) -> tuple[Mapping[str, Any], ...]:
        """The entries of one node that kharden places itself, in the order of the manifest."""
        return tuple(entry for entry in self.manifest["nodes"][node]["files"] if entry["by"] == "kharden")

    def location(self, node: str, entry: Mapping[str, Any]) -> Path:
        """Where the content of an entry lies; a sensitive one is sealed."""
        return self.folder / "nodes" / node / f"files{entry['path']}{'.age' if entry['sensitive'] else ''}"

    def public_content(self, node: str, entry: Mapping[str, Any]) -> bytes:
        """The content of a public file.

        Raises:
            IntegrityError: it isn't the one that the manifest lists.
        """
        return _intact(self.location(node, entry), entry["sha256"])


def _intact(path: Path, sha256: str) -> bytes:
    content = read(path)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise IntegrityError(f"{path}: was changed after it was rendered", remedy="run `invoke render` again")
    return content


def read(path: Path) -> bytes:
    """A file of the build.

    Raises:
        MissingError: it isn't there, or can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise MissingError(f"{path}: {error.strerror}", remedy="run `invoke render` again") from None


def load(folder: Path, spec_digest: str) -> BuildFolder:
    """The build in `folder`, which must be of the cluster.yaml with `spec_digest`.

    Raises:
        MissingError: there is none.
        InputError: its manifest is not one.
        RefusedError: cluster.yaml was changed since.
        IntegrityError: what Ansible is given, or a manifest for the cluster, was changed after it was rendered.
    """
    path = folder / "manifest.json"
    content = read(path)
    try:
        manifest = json.loads(content)
        schema, digest, _ = manifest["schema"], manifest["specDigest"], dict(manifest["nodes"])
        shared = {entry["path"]: entry["sha256"] for entry in (*manifest["manifests"], *manifest["ansible"])}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is not a manifest of kharden", remedy="run `invoke render` again") from None
    if schema != _SCHEMA:
        raise InputError(f"{path}: has schema {schema}, not {_SCHEMA}", remedy="run `invoke render` again")
    if digest != spec_digest:
        raise RefusedError(f"{folder}: cluster.yaml was changed since this was rendered", remedy="run `invoke render`")
    for name, sha256 in shared.items():
        _intact(folder / name, sha256)
    return BuildFolder(folder, manifest, hashlib.sha256(content).hexdigest())
