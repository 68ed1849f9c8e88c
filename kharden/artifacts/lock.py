"""The lock: which programs and images make a cluster, and the only bytes that they may be.

lock.json is part of the product and reviewed like code. `release` is what the project itself published, `built` what
our reproducible build of the same source gives (docs/adr/0002); whatever differs from both is never used. Its own
digest is part of the code (kharden/artifacts/sealed.py): a lock that was changed, or an older one, is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from kharden import resources
from kharden.artifacts import forms, sealed
from kharden.errors import InputError, IntegrityError

PATH = Path(__file__).with_name("lock.json")
DAMAGED = "install kharden again"

_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Download:
    """A file from outside: its digest, and its size in bytes, so that an endless one is cut off."""

    sha256: forms.Digest
    size: Annotated[int, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class Toolchain:
    """The one Go that compiles, as "go1.26.8"; `zips` are its module zips for machines without Go."""

    version: forms.GoVersion
    zips: dict[forms.Architecture, Download]


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module of ours in tools/ whose requirements (pinned by its go.sum) are compiled.

    Attributes:
        name: The folder in tools/.
        requires: Module path → version that its go.mod must name; empty for a program of our own.
        variables: Go symbol → text that the linker sets (`-X`): what a program says of its version.
    """

    name: forms.Name
    requires: dict[forms.Import, forms.Value]
    variables: dict[forms.Import, forms.Value]

    @property
    def folder(self) -> Path:
        """Where it lies in this installation."""
        return resources.folder("tools") / self.name


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs published files, keyless, with sigstore's cosign.

    Attributes:
        identity: The certificate's, and `issuer` who vouches for it.
        signature: What is appended to a file's address to get its signature, and `certificate` to get the certificate.
    """

    name: forms.Name
    identity: forms.Identity
    issuer: forms.Identity
    signature: forms.Suffix
    certificate: forms.Suffix


@dataclass(frozen=True, slots=True)
class Program:
    """One program of one version.

    Attributes:
        module: The `Module` that builds it, and `package` the import path of its main package.
        release_form: What the project publishes: the program, an archive that holds it, or nothing that we could
            pin, in which case the program is source-only.
        release: Architecture → SHA-256 of that published file.
        built: Architecture → SHA-256 of the program as our build gives it.
        address: Where it is published; {version} and {architecture} stand for themselves.
        member: The program's path in the published archive.
        signer: The `Signer` of the published file, "" where nobody signs it in a way that we could check.
    """

    name: forms.Name
    version: forms.Version
    module: forms.Name
    package: forms.Import
    release_form: Literal["program", "archive", "none"]
    release: dict[forms.Architecture, forms.Digest]
    built: dict[forms.Architecture, forms.Digest]
    address: forms.Address = ""
    member: forms.Member = ""
    signer: forms.Name | Literal[""] = ""

    def __str__(self) -> str:
        """As people write it: "etcd 3.6.16"."""
        return f"{self.name} {self.version}"

    def __post_init__(self) -> None:
        published = self.release_form != "none"
        if published != bool(self.release) or published != bool(self.address):
            raise ValueError(f"{self}: release_form, release and address contradict each other")
        if (self.release_form == "archive") != bool(self.member) or (self.signer and not published):
            raise ValueError(f"{self}: release_form, member and signer contradict each other")

    def published_at(self, architecture: forms.Architecture) -> str:
        """The official address of its file for `architecture`."""
        return self.address.replace("{version}", self.version).replace("{architecture}", architecture)


@dataclass(frozen=True, slots=True)
class DebianFiles:
    """Files of Debian packages in an image; the libraries that they load come with them."""

    packages: tuple[forms.Name, ...]
    files: tuple[forms.ImagePath, ...]


@dataclass(frozen=True, slots=True)
class DebianPackage:
    """One .deb file of Debian's archive.

    Attributes:
        path: Below the archive's address; those of security updates begin with pool/updates.
    """

    name: forms.Name
    version: forms.DebianVersion
    path: forms.PoolPath
    sha256: forms.Digest
    size: Annotated[int, Field(gt=0)]

    def __str__(self) -> str:
        """As people write it: "nftables 1.1.3-1"."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class DebianPins:
    """The packages for images: those that images name, and all that these depend on.

    Attributes:
        suite: The Debian release that they are of.
        taken: When they were: snapshot.debian.org has the archive of that moment.
    """

    suite: forms.Name
    taken: forms.Moment
    packages: dict[forms.Architecture, tuple[DebianPackage, ...]]


@dataclass(frozen=True, slots=True)
class Image:
    """One image, known to Kubernetes by `reference`.

    Attributes:
        version: Of all programs in it.
        programs: Path in the image → name of the program.
        entrypoint: Program and arguments that it starts where a pod names none.
        user: "uid:gid" that it runs as where a pod names none.
        debian: What it needs besides.
    """

    reference: forms.Reference
    version: forms.Version
    programs: dict[forms.ImagePath, forms.Name]
    entrypoint: tuple[forms.ImagePath, ...]
    user: forms.User
    debian: DebianFiles | None = None


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which versions go with one Kubernetes version, by name; the lock's own form of a `Release`."""

    kubernetes: forms.Version
    programs: dict[forms.Name, forms.Version]
    images: tuple[forms.Reference, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Everything that a cluster of one Kubernetes version consists of."""

    kubernetes: str
    programs: tuple[Program, ...]
    images: tuple[Image, ...]

    def program(self, name: str) -> Program:
        """The program `name`, for example to learn which etcd belongs to this Kubernetes.

        Raises:
            KeyError: the lock has no such program; its names are part of the code, so this is a bug.
        """
        return {program.name: program for program in self.programs}[name]


@dataclass(frozen=True, slots=True)
class Lock:
    """All that the product knows how to get.

    Attributes:
        serial: Which lock this is: every change of it raises it by one.
    """

    __pydantic_config__ = _STRICT

    schema: Literal[3]
    serial: Annotated[int, Field(gt=0)]
    toolchain: Toolchain
    signers: tuple[Signer, ...]
    modules: tuple[Module, ...]
    programs: tuple[Program, ...]
    images: tuple[Image, ...]
    releases: tuple[Pairing, ...]
    debian: DebianPins

    def __post_init__(self) -> None:
        _unique("module", [module.name for module in self.modules])
        _unique("program", [str(program) for program in self.programs])
        _unique("image", [image.reference for image in self.images])
        _unique("signer", [signer.name for signer in self.signers])
        _unique("release", [pairing.kubernetes for pairing in self.releases])
        for program in self.programs:
            self.module(program)
            self.signer(program)
        for pairing in self.releases:
            self._resolve(pairing)
        self._check_packages()

    @property
    def versions(self) -> tuple[str, ...]:
        """The Kubernetes versions in it, as the lock orders them."""
        return tuple(pairing.kubernetes for pairing in self.releases)

    def module(self, program: Program) -> Module:
        """The module that builds `program`."""
        for module in self.modules:
            if module.name == program.module:
                return module
        raise ValueError(f"{program}: no module {program.module}")

    def signer(self, program: Program) -> Signer | None:
        """Who signs the published file of `program`, or None."""
        found = {signer.name: signer for signer in self.signers}
        if program.signer and program.signer not in found:
            raise ValueError(f"{program}: no signer {program.signer}")
        return found.get(program.signer)

    def kubernetes(self, version: str) -> Release:
        """The programs and images of Kubernetes `version`, "1.36.3" for example.

        Raises:
            InputError: the lock does not have it.
        """
        for pairing in self.releases:
            if pairing.kubernetes == version:
                return self._resolve(pairing)
        raise InputError(f"Kubernetes {version} is not in the lock", remedy=f"use one of {', '.join(self.versions)}")

    def _check_packages(self) -> None:
        wanted = {name for image in self.images if image.debian for name in image.debian.packages}
        for architecture, packages in self.debian.packages.items():
            _unique(f"{architecture} package", [package.name for package in packages])
            for missing in sorted(wanted - {package.name for package in packages}):
                raise ValueError(f"Debian packages for {architecture}: no {missing}")

    def _resolve(self, pairing: Pairing) -> Release:
        programs = {str(program): program for program in self.programs}
        images = {image.reference: image for image in self.images}
        wanted = [f"{name} {version}" for name, version in pairing.programs.items()]
        for missing in [*(set(wanted) - set(programs)), *(set(pairing.images) - set(images))]:
            raise ValueError(f"Kubernetes {pairing.kubernetes}: no {missing}")
        for image in (images[reference] for reference in pairing.images):
            for name in image.programs.values():
                if pairing.programs.get(name) != image.version:
                    raise ValueError(f"{image.reference}: holds {name} {image.version}, the release another")
        return Release(
            pairing.kubernetes,
            tuple(programs[name] for name in wanted),
            tuple(images[reference] for reference in pairing.images),
        )


@cache
def load() -> Lock:
    """The product's own lock, read once a process.

    Raises:
        IntegrityError: it was changed, or belongs to another version of kharden.
    """
    try:
        content = PATH.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{PATH}: can't be read ({error.strerror})", remedy=DAMAGED) from None
    own = parse(content, str(PATH))
    if own.serial < sealed.SERIAL:
        raise IntegrityError(
            f"{PATH}: an older lock ({own.serial}) than this kharden's ({sealed.SERIAL})", remedy=DAMAGED
        )
    if hashlib.sha256(content).hexdigest() != sealed.SHA256:
        raise IntegrityError(f"{PATH}: not the lock that this kharden was made with", remedy=DAMAGED)
    return own


def parse(content: bytes, name: str) -> Lock:
    """The lock in `content`; `name` says where it comes from.

    Raises:
        IntegrityError: it is not a whole lock of schema 3; every problem is in the details.
    """
    try:
        value = json.loads(content, object_pairs_hook=_without_duplicates)
        return TypeAdapter(Lock).validate_json(json.dumps(value))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)]
        raise IntegrityError(f"{name}: {problems[0]}", remedy=DAMAGED, details=problems[1:]) from None
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{name}: not JSON ({error})", remedy=DAMAGED) from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _unique("key", [key for key, _ in pairs])
    return dict(pairs)


def _unique(kind: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{kind} {name} is there twice")
