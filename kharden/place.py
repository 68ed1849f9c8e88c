"""Where a cluster's files lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cluster's files lie: below a checkout, or below the folder in which `kharden` was started."""

    root: Path
    cluster: str

    @property
    def spec(self) -> Path:
        """The hand-written file."""
        return self.root / "inventories" / self.cluster / "cluster.yaml"

    @property
    def secrets(self) -> Path:
        """The folder of the sealed stores."""
        return self.spec.parent / "secrets"

    @property
    def build(self) -> Path:
        """The folder of everything rendered."""
        return self.root / "build" / self.cluster

    @property
    def evidence(self) -> Path:
        """The folder of reports."""
        return self.root / "evidence" / self.cluster
