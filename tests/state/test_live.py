"""A sample of controls asked on the nodes themselves: collector and testinfra must see the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import testinfra

from kharden.controls import control
from kharden.observe.examine import examine
from kharden.observe.examine.view import View
from kharden.observe.host import SnapshotHost

if TYPE_CHECKING:
    from collections.abc import Callable

    from testinfra.host import Host

    from kharden.observe.exchange import SuiteInput
    from kharden.observe.model import Observation


@pytest.fixture(scope="session")
def live_host(given: SuiteInput) -> Callable[[str], Host]:
    hosts: dict[str, Host] = {}

    def connect(name: str) -> Host:
        if name not in hosts:
            node = next(node for node in given.plan.nodes if node.name == name)
            hosts[name] = testinfra.get_host(
                # Without a persistence of its own testinfra leaves the control socket to our ssh_config.
                f"ssh://{name}?controlpersist=0",
                ssh_config=str(given.ssh_config),
                sudo=node.ssh.becomes,
            )
        return hosts[name]

    return connect


def test_live(
    asked_again: tuple[str, str],
    given: SuiteInput,
    live_host: Callable[[str], Host],
    record: Callable[[tuple[Observation, ...]], None],
) -> None:
    identifier, name = asked_again
    node = next(node for node in given.plan.nodes if node.name == name)
    host = SnapshotHost(given.snapshot.facts(name))
    view = View(given.plan, node, given.snapshot, host, given.digests[node.architecture], given.authorities)
    collected = examine(control(identifier), view)
    try:
        live = examine(control(identifier), replace(view, host=live_host(name)), live=True)
    except Exception as error:  # noqa: BLE001  # whatever testinfra raises: a look that failed is told, as unknown
        unseen = f"testinfra could not look: {type(error).__name__}"
        live = tuple(replace(then, source="live", observed=unseen, ok=None) for then in collected)
    record(tuple(_compared(then, now) for then, now in zip(collected, live, strict=True)))


def _compared(then: Observation, now: Observation) -> Observation:
    if now.ok is None or (now.observed, now.ok) == (then.observed, then.ok):
        return now
    return replace(now, expected=f"{then.observed}, as the collector saw it", ok=False)
