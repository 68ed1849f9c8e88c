"""The forms of what the lock holds: named types, each with the pattern that a value must have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Architecture = Literal["amd64", "arm64"]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # SHA-256, hexadecimal, without a prefix
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")]
Version = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
GoVersion = Annotated[str, Field(pattern=r"^go1\.[0-9]+\.[0-9]+$")]
Import = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]  # a Go import path or symbol
Value = Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]*$")]  # of a -X flag: no blanks, the linker would split there
ImagePath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)+$")]
Reference = Annotated[str, Field(pattern=r"^[a-z0-9.-]+(/[a-z0-9.-]+)+:[A-Za-z0-9_][A-Za-z0-9._-]*$")]
User = Annotated[str, Field(pattern=r"^[0-9]+:[0-9]+$")]
Address = Annotated[str, Field(pattern=r"^(https://[a-z0-9.-]+(/[A-Za-z0-9_{][A-Za-z0-9._+{}-]*)+)?$")]
Member = Annotated[str, Field(pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?$")]
Suffix = Annotated[str, Field(pattern=r"^\.[a-z0-9.]+$")]
Identity = Annotated[str, Field(pattern=r"^[A-Za-z0-9@:/._-]+$")]
PoolPath = Annotated[str, Field(pattern=r"^pool(/[A-Za-z0-9][A-Za-z0-9._+~-]*)+\.deb$")]  # in Debian's archive
DebianVersion = Annotated[str, Field(pattern=r"^([0-9]+:)?[0-9][A-Za-z0-9.+~-]*$")]  # deb-version(7)
Moment = Annotated[str, Field(pattern=r"^[0-9]{8}T[0-9]{6}Z$")]  # as snapshot.debian.org writes it
