from __future__ import annotations

import pytest

from .planner import Planner


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    folder = tmp_path_factory.mktemp("inventories") / "test"
    folder.mkdir()
    return Planner(folder)
