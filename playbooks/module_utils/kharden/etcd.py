# SPDX-License-Identifier: Apache-2.0
"""The members of the cluster's etcd, as they say themselves, by way of etcdctl."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "/usr/local/bin/etcdctl"
PKI = "/etc/kubernetes/pki/etcd"
DATA = "/var/lib/etcd"
UNIT = "etcd.service"  # where it has a machine of its own
_SECONDS = 10  # for one call; etcdctl's own limit for a command is 5


@dataclass(frozen=True, slots=True)
class Member:
    """A member as the others know it. One that has never started has neither a name nor an address for clients."""

    id: int
    name: str
    peer: str
    client: str
    learner: bool

    @property
    def started(self) -> bool:
        """Whether it has ever taken part."""
        return bool(self.client)

    def __str__(self) -> str:
        return f"{self.name or 'without a name'} ({self.peer}, {self.id:x})"


@dataclass(frozen=True, slots=True)
class Etcd:
    """How etcd is reached from this node: `endpoints` are addresses for clients of members that should be there."""

    endpoints: Sequence[str]
    program: str = PROGRAM
    pki: str = PKI

    def members(self) -> tuple[Member, ...]:
        """All members, from the first that answers; a list that a majority agrees on.

        Raises:
            NodeError: none answers, so there is no majority.
        """
        said = "none is named"
        for endpoint in self.endpoints:
            status, answer = self._call(endpoint, "member", "list", "--write-out=json")
            if status == 0:
                return parse(answer)
            said = answer
        raise NodeError(f"etcd has no majority, or can't be reached from here: {last_line(said)}")

    def healthy(self, members: Sequence[Member]) -> frozenset[int]:
        """The IDs of those that answer and, unless they only learn, agree with a majority."""
        if not members:
            return frozenset()
        with ThreadPoolExecutor(len(members)) as pool:
            return frozenset(
                one.id for one, well in zip(members, pool.map(self._is_well, members), strict=True) if well
            )

    def _is_well(self, member: Member) -> bool:
        # A learner answers no reads that need a majority.
        question = "status" if member.learner else "health"
        return member.started and self._call(member.client, "endpoint", question)[0] == 0

    def remove(self, member: Member) -> None:
        """Take a member out of the cluster for ever.

        Raises:
            NodeError: the others refuse.
        """
        self._change(f"etcd member {member}: can't be removed", "remove", f"{member.id:x}")

    def add(self, name: str, peer: str) -> None:
        """Let a new member in, which has no vote before it has caught up.

        Raises:
            NodeError: the others refuse, for instance since one of them has only just come back.
        """
        self._change(f"etcd member {name} ({peer}): can't be added", "add", name, "--learner", f"--peer-urls={peer}")

    def promote(self, member: Member) -> None:
        """Give a member its vote.

        Raises:
            NodeError: the others refuse, since it hasn't caught up yet.
        """
        self._change(f"etcd member {member}: can't vote yet", "promote", f"{member.id:x}")

    def _change(self, failure: str, *arguments: str) -> None:
        said = "none is named"
        for endpoint in self.endpoints:
            status, said = self._call(endpoint, "member", *arguments)
            if status == 0:
                return
        raise NodeError(f"{failure}: {last_line(said)}")

    def _call(self, endpoint: str, *arguments: str) -> tuple[int, str]:
        credential = (
            f"--cacert={self.pki}/ca.crt",
            f"--cert={self.pki}/healthcheck-client.crt",
            f"--key={self.pki}/healthcheck-client.key",
        )
        try:
            done = subprocess.run(
                [self.program, f"--endpoints={endpoint}", *credential, *arguments],
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )
        except FileNotFoundError:
            raise NodeError(f"{self.program}: isn't installed on this node: apply places it") from None
        except subprocess.TimeoutExpired:
            return 1, f"{endpoint} doesn't answer"
        return done.returncode, (done.stderr if done.returncode else done.stdout).decode(errors="replace")


def has_data(folder: Path = Path(DATA)) -> bool:
    """Whether a member has kept anything there."""
    member = folder / "member"
    return member.is_dir() and any(os.scandir(member))


def parse(answer: str) -> tuple[Member, ...]:
    """Read `etcdctl member list --write-out=json`."""
    listed: list[dict[str, Any]] = json.loads(answer)["members"]
    return tuple(
        Member(
            id=int(one["ID"]),
            name=one.get("name", ""),
            peer=one["peerURLs"][0],
            client=(one.get("clientURLs") or [""])[0],
            learner=one.get("isLearner", False),
        )
        for one in listed
    )


def last_line(said: str) -> str:
    """The end of what a program said, in one line, without what could control a terminal."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    try:  # etcdctl's warnings are JSON
        text = str(json.loads(lines[-1]).get("error", lines[-1]))
    except (ValueError, AttributeError):
        text = lines[-1]
    return "".join(one for one in text if one.isprintable())[:300]
