"""The state suite: each control on each node it applies to, held against what the collector saw there.

`kharden verify` runs it. By hand: `pytest tests/state --kharden-input FILE`, with a file that verify wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kharden.controls import CONTROLS, control
from kharden.errors import KhardenError
from kharden.observe.exchange import SuiteInput, dump_observation, load_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kharden.observe.model import Observation

_INPUT = pytest.StashKey[SuiteInput]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kharden")
    group.addoption("--kharden-input", type=Path, help="the cluster's plan and facts, as verify wrote them")
    group.addoption("--kharden-output", type=Path, help="where observations go, a line of JSON each")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--kharden-input", default=None)
    if path is None:
        raise pytest.UsageError(
            "the state suite looks at a cluster: give it --kharden-input FILE, or run kharden verify"
        )
    try:
        config.stash[_INPUT] = load_input(path)
    except KhardenError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    given = metafunc.config.stash[_INPUT]
    pairs: list[tuple[str, str]] = []
    if "judged" in metafunc.fixturenames:
        pairs = [
            (entry.id, node.name)
            for entry in CONTROLS
            for node in given.plan.nodes
            if entry.all_checks and entry.concerns(node.duties)
        ]
        metafunc.parametrize("judged", pairs, ids="-".join)
    if "asked_again" in metafunc.fixturenames:
        metafunc.parametrize("asked_again", given.live, ids="-".join)


@pytest.fixture(scope="session")
def given(request: pytest.FixtureRequest) -> SuiteInput:
    return request.config.stash[_INPUT]


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Iterator[Callable[[tuple[Observation, ...]], None]]:
    """Writes observations down, and fails the test unless all of them are right."""
    path = request.config.getoption("--kharden-output")
    if path is None:
        yield _require
        return
    with path.open("a", encoding="utf-8") as stream:

        def write(observations: tuple[Observation, ...]) -> None:
            stream.writelines(map(dump_observation, observations))
            _require(observations)

        yield write


def _require(observations: tuple[Observation, ...]) -> None:
    assert observations, "nothing was observed"
    wrong = [f"{one.expected}\n  observed: {one.observed}" for one in observations if not one.ok]
    assert not wrong, "\n".join([control(observations[0].control).title, *wrong])
