# SPDX-License-Identifier: Apache-2.0
"""Whether a node may join or restart a member of etcd or an API server: pure judgements, and the waiting for a yes.

etcd takes writes while a majority of its voting members is well. What is done here never lets that go.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from . import processes, static_pods
from .errors import NodeError
from .etcd import Etcd, Member

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ETCD = "etcd"
API = "kube-apiserver"
_ALONE_OR_TWO = 2  # members of which none can be missed
_PAUSE = 1.0  # seconds between two looks


@dataclass(frozen=True, slots=True)
class Peer:
    """A node's part of etcd and of the API, by the plan: addresses for other members and for clients.

    A control plane has no part of etcd where that is on machines of its own, and those have no API.
    """

    name: str
    peer: str = ""
    client: str = ""
    api: str = ""

    @property
    def alike(self) -> str:
        """What a person calls others of its kind."""
        return "control plane" if self.api else "machine of etcd"

    @property
    def api_probe(self) -> static_pods.Probe:
        """Where its API server says whether it may be sent requests; open to anybody."""
        place = urlsplit(self.api)
        return static_pods.Probe("https", place.hostname or "", place.port or 0, "/readyz")


@dataclass(frozen=True, slots=True)
class Local:
    """What this node has of etcd: data of a member, and a process."""

    data: bool
    running: bool


def stale_member(own: Peer, local: Local, members: Sequence[Member], healthy: frozenset[int]) -> Member | None:
    """The member that a machine in this node's place left behind and that can never come back, if there is one.

    Raises:
        NodeError: whose it is can't be told, or a majority wouldn't be sure without it.
    """
    mine = next((one for one in members if one.peer == own.peer), None)
    namesake = next((one for one in members if one.name == own.name and one.peer != own.peer), None)
    if namesake:
        raise NodeError(
            f"etcd has a member {namesake} of this node's name at another address: if that machine is gone for good, "
            f"run etcdctl member remove {namesake.id:x} on another {own.alike}"
        )
    if mine is None:
        if local.data:
            away = "run kubeadm reset on this node" if own.api else "move /var/lib/etcd/member away on this machine"
            raise NodeError(
                f"/var/lib/etcd has data of a member that etcd doesn't know: if nobody needs it, {away} and apply again"
            )
        return None
    if local.data or not mine.started:
        return None  # a join that was cut off: it goes on
    if local.running or mine.id in healthy:
        raise NodeError(
            f"etcd member {mine} answers, and this node has no data of it: find out which machine has its address"
        )
    return mine


def refuse_join(own: Peer, members: Sequence[Member], healthy: frozenset[int]) -> None:
    """Nothing of etcd changes while another member is away or only learns.

    Raises:
        NodeError: that is so.
    """
    for one in members:
        if one.peer == own.peer:
            continue
        if one.learner:
            raise NodeError(
                f"etcd member {one} doesn't vote yet, since its node's join was cut off: finish that first, or run "
                f"etcdctl member remove {one.id:x} on another {own.alike}"
            )
        if one.id not in healthy:
            raise NodeError(
                f"etcd member {one} isn't well, and nothing joins before it is: start its node; if that is gone for "
                f"good, run etcdctl member remove {one.id:x} on another {own.alike}"
            )


def refuse_restart(own: Peer, members: Sequence[Member], healthy: frozenset[int]) -> None:
    """A member restarts only while the others are a majority without it; of one or two that can't be.

    Raises:
        NodeError: they aren't.
    """
    voters = [one for one in members if not one.learner]
    others = [one for one in voters if one.peer != own.peer]
    needed = len(voters) // 2 + 1 if len(voters) > _ALONE_OR_TWO else len(others)
    sick = [one for one in others if one.id not in healthy]
    if len(others) - len(sick) < needed:
        raise NodeError(
            f"etcd would lose its majority if this node's member restarted, since {_listed(sick)} isn't well: "
            f"start that node first"
        )


def _listed(members: Sequence[Member]) -> str:
    return " and ".join(map(str, members)) or "another member"


@dataclass(frozen=True, slots=True)
class Quorum:
    """The control planes of the plan, or the machines of etcd, of which one is this node.

    Attributes:
        timeout: seconds that others may take until they are well.
    """

    node: str
    peers: tuple[Peer, ...]
    timeout: float

    @property
    def own(self) -> Peer:
        """This node."""
        return next(peer for peer in self.peers if peer.name == self.node)

    @property
    def others(self) -> tuple[Peer, ...]:
        """The others."""
        return tuple(peer for peer in self.peers if peer.name != self.node)

    @property
    def etcd(self) -> Etcd:
        """Its etcd, by way of the others first: this node's member may be away, or know less."""
        return Etcd([peer.client for peer in (*self.others, self.own)])

    def before_restart(self, name: str) -> None:
        """Wait until the program `name` of this node may be away for a moment.

        Raises:
            NodeError: it still may not when the time is over; nothing was changed.
        """
        if self.others and name == ETCD:
            until(self._require_majority, self.timeout)
        elif self.others and name == API:
            until(self.require_api, self.timeout)

    def after_restart(self, name: str) -> None:
        """Wait until the program `name` of this node does its part again, so that another may restart.

        Raises:
            NodeError: it doesn't.
        """
        if self.others and name == ETCD:
            until(self._require_own_member, self.timeout)
        elif self.others and name == API:
            until(self._require_own_api, self.timeout)

    def _require_majority(self) -> None:
        members = self.etcd.members()
        refuse_restart(self.own, members, self.etcd.healthy(members))

    def _require_own_member(self) -> None:
        mine = [one for one in self.etcd.members() if one.peer == self.own.peer]
        if not self.etcd.healthy(mine):
            raise NodeError("etcd: its member isn't well after the restart: look at its log")

    def _require_own_api(self) -> None:
        if not static_pods.answers(self.own.api_probe):
            raise NodeError("static pod kube-apiserver: runs and isn't ready (/readyz): look at crictl logs")

    def require_api(self) -> None:
        """Another API server answers.

        Raises:
            NodeError: none does.
        """
        if not any(static_pods.answers(peer.api_probe) for peer in self.others):
            names = ", ".join(peer.name for peer in self.others)
            raise NodeError(f"none of the other API servers is ready ({names}): mend one of them first")

    def before_join(self, local: Local) -> Member | None:
        """Wait until this node may join; the member that has to go first, if there is one.

        Raises:
            NodeError: it still may not when the time is over; nothing was changed.
        """
        found: list[Member | None] = []

        def look() -> None:
            if self.own.api:
                require_no_kubeadm()
                self.require_api()
            if not self.own.peer:
                return  # etcd is elsewhere, and isn't concerned
            members = self.etcd.members()
            healthy = self.etcd.healthy(members)
            refuse_join(self.own, members, healthy)
            found[:] = [stale_member(self.own, local, members, healthy)]

        until(look, self.timeout)
        return found[0]


def require_no_kubeadm() -> None:
    """A join whose controller was killed goes on for a while on the node.

    Raises:
        NodeError: that is so.
    """
    left = [one for one in processes.processes() if "kubeadm" in one.names and not one.in_pod]
    if left:
        raise NodeError(f"kubeadm of an earlier run still works here (process {left[0].pid}): wait until it ends")


def quorum(params: dict[str, object] | None, timeout: float) -> Quorum | None:
    """From a module's option: `node` and `peers`; None where there is nobody to ask.

    Raises:
        NodeError: it has another form.
    """
    if not params:
        return None
    try:
        peers = tuple(Peer(**one) for one in params["peers"])  # type: ignore[attr-defined]  # of Ansible, so unknown
        found = Quorum(str(params["node"]), peers, timeout)
        own = found.own
    except (KeyError, TypeError, StopIteration):
        own = None
    if own is None or bool(own.peer) != bool(own.client) or not own.peer + own.api:
        raise NodeError("quorum: isn't of the form that is documented: correct it") from None
    return found


def until(look: Callable[[], None], timeout: float) -> None:
    """Look again and again until `look` has nothing against it; at the end its last word counts."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            look()
        except NodeError:
            if time.monotonic() >= deadline:
                raise
        else:
            return
        time.sleep(_PAUSE)
