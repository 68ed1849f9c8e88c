"""A rendered file is a value."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal, Protocol

Store = Literal["roots", "leaves", "data"]


class Content(Protocol):
    """Bytes that are only asked for where they are needed: those of a key in a store that this machine may not open."""

    @property
    def sha256(self) -> str:
        """Hex digest, known without asking for the bytes."""

    @property
    def content(self) -> bytes:
        """The bytes.

        Raises:
            MissingError: no identity of this machine opens their store.
        """


@dataclass(frozen=True, slots=True)
class Artefact:
    """A file as it shall lie on a node.

    Attributes:
        path: absolute path on the node.
        source: its bytes, or where they come from; not shown in a repr, since it may be a key.
        store: the sealed store whose recipients may read it; None for public content.
        restarts: what has to restart or reload when it changes (unit names, "sysctl", "static-pod/NAME" …).
        controls: ids of the controls that it serves.
        validate: a program that must accept the file before it replaces the old one; "%s" is its temporary path.
    """

    path: str
    source: bytes | Content = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    store: Store | None = None
    restarts: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    validate: tuple[str, ...] = ()

    @property
    def sensitive(self) -> bool:
        """Whether the content is a secret."""
        return self.store is not None

    @property
    def content(self) -> bytes:
        """The bytes; of a secret, asking may open its store."""
        return self.source if isinstance(self.source, bytes) else self.source.content

    @property
    def sha256(self) -> str:
        """Hex digest of the content."""
        return hashlib.sha256(self.source).hexdigest() if isinstance(self.source, bytes) else self.source.sha256


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory as it shall be on a node."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"
    controls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """A program that lies in the cache of artifacts under its digest and is placed on a node."""

    path: str
    sha256: str
    size: int
    restarts: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """An image that lies in the cache of artifacts and is imported into the node's runtime.

    Attributes:
        digest: "sha256:…" of its manifest, as the runtime shows it.
        archive_sha256: hex digest of the archive in the cache.
    """

    reference: str
    digest: str
    archive_sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class ByKubeadm:
    """A file that kubeadm makes itself; listed so that a reader knows, compared by meaning elsewhere."""

    path: str
    controls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """Everything of one node, in the order in which it is placed."""

    node: str
    folders: tuple[Folder, ...]
    programs: tuple[Program, ...]
    files: tuple[Artefact, ...]
    images: tuple[Image, ...]
    by_kubeadm: tuple[ByKubeadm, ...]
