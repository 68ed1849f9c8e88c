"""Which cluster a task is about, and the time that it goes by."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from kharden.errors import InputError
from kharden.place import Place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# It becomes part of paths; what a name is otherwise, the model of cluster.yaml says.
_NAME = re.compile(r"[a-z0-9][-a-z0-9]{0,62}")

# Certificates begin a little before the time of issue and end years after it (RFC 5280: 9999 is the last one).
_YEARS = range(2000, 9900)


@dataclass(slots=True)
class Site:
    """Where tasks run: the folder that holds inventories/ and the cluster that is meant when none is named.

    Attributes:
        agreed: whether an earlier task of this chain has asked for the lab's changes on this machine.
    """

    root: Path
    default: str | None
    agreed: bool = False

    def place(self, cluster: str | None) -> Place:
        """Where the files lie of the cluster that is named, or meant."""
        chain = named_in_chain(sys.argv[1:])
        name = cluster or chain or os.environ.get("KHARDEN_CLUSTER") or self.default
        if not name:
            raise InputError("no cluster is named", remedy="add --cluster NAME, or set KHARDEN_CLUSTER")
        if not _NAME.fullmatch(name):
            raise InputError(f"{name[:60]!r} can't be a cluster's name", remedy="name a folder in inventories/")
        return Place(self.root, name)


def named_in_chain(arguments: Sequence[str]) -> str | None:
    """The cluster that a task of this chain names: it holds for all of them, and two different ones are an error."""
    if any(argument.startswith("-c") for argument in arguments):  # invoke's own --collection, after a task ignored
        raise InputError("-c is not a flag of this task", remedy="write --cluster NAME")
    named = [value for flag, value in pairwise(arguments) if flag == "--cluster"]
    named += [argument.partition("=")[2] for argument in arguments if argument.startswith("--cluster=")]
    if len(set(named)) > 1:
        raise InputError(
            f"one chain of tasks names several clusters: {', '.join(dict.fromkeys(named))}",
            remedy="run them one after the other",
        )
    return named[0] if named else None


def is_chained(task: str) -> bool:
    """Whether this chain has the task; a cluster may have its name."""
    return any(word == task and before != "--cluster" for before, word in pairwise(("", *sys.argv[1:])))


def time_of(now: str | None) -> datetime:
    """The time that --now names; the clock's where it names none."""
    if now is None:
        return datetime.now(UTC)
    try:
        time = datetime.fromisoformat(now)
    except ValueError:
        raise InputError(f"--now {now}: is not a time", remedy="write it as 2027-01-31T12:00:00Z") from None
    if time.year not in _YEARS:
        raise InputError(f"--now {now}: is out of range", remedy=f"choose a year up to {_YEARS[-1]}")
    return time if time.tzinfo else time.replace(tzinfo=UTC)
