"""What fetching gives: programs and images by digest, and how its progress is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kharden.artifacts.debian import Package


class Progress(Protocol):
    """Hears of each item twice; a fetch that has nothing to do still names every one."""

    def start(self, item: str) -> None:
        """`item` ("etcd 3.6.16", or an image's reference) is being looked at, perhaps made."""

    def advance(self, item: str, done: int, total: int) -> None:
        """`done` bytes of `total` (0: nobody said) are there; from several threads."""

    def done(self, item: str, seconds: float, cached: bool) -> None:  # noqa: FBT001 - one fact of a finished item
        """`item` is there; `cached` if nothing had to be made."""


@dataclass(frozen=True, slots=True)
class File:
    """One program in the cache: `Store.path(sha256)`.

    Attributes:
        size: In bytes.
        official: It is byte for byte what the project published, not merely compiled from its source.
        signature: What is known of the publisher's signature of it; "" for what we compiled ourselves.
    """

    name: str
    version: str
    sha256: str
    size: int
    official: bool
    signature: str = ""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image in the cache.

    Attributes:
        reference: What Kubernetes asks for.
        digest: Of the manifest, "sha256:…", as the container runtime shows it.
        archive: SHA-256 of the tar file that `ctr images import` reads: `Store.path(archive)`.
        size: Of that file, in bytes.
        programs: Path in the image → SHA-256 of the program there.
        packages: The Debian packages that other files in it come from.
    """

    reference: str
    digest: str
    archive: str
    size: int
    programs: Mapping[str, str]
    packages: tuple[Package, ...] = ()


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What a cluster of one Kubernetes version consists of, on one architecture.

    Attributes:
        programs: By name.
        notes: Lines for a person: damaged files that were removed and made anew, what is known of signatures.
        pinned: All of it is what the lock pins; false where a lab's images have other Debian packages.
    """

    kubernetes: str
    architecture: str
    programs: Mapping[str, File]
    images: tuple[ImageFile, ...]
    notes: tuple[str, ...] = ()
    pinned: bool = True
