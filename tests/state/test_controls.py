from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.controls import control
from kharden.observe.examine import examine
from kharden.observe.examine.view import View
from kharden.observe.host import SnapshotHost

if TYPE_CHECKING:
    from collections.abc import Callable

    from kharden.observe.exchange import SuiteInput
    from kharden.observe.model import Observation


def test_control(judged: tuple[str, str], given: SuiteInput, record: Callable[[tuple[Observation, ...]], None]) -> None:
    identifier, name = judged
    node = next(node for node in given.plan.nodes if node.name == name)
    host = SnapshotHost(given.snapshot.facts(name))
    record(
        examine(
            control(identifier),
            View(given.plan, node, given.snapshot, host, given.digests[node.architecture], given.authorities),
        )
    )
