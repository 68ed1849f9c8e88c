"""What `verify` and the state suite hand each other: one JSON file in, one line of JSON for each observation out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kharden.errors import InputError
from kharden.observe.facts import Snapshot
from kharden.observe.model import Observation
from kharden.plan import policy
from kharden.plan.model import ClusterPlan  # noqa: TC001  # pydantic reads it at run time
from kharden.spec.presets import Preset


@dataclass(frozen=True, slots=True)
class SuiteInput:
    """Everything that the state suite is given; nothing in it is secret.

    Attributes:
        nodes: each node's document.
        away: as of `kharden.observe.witnesses.Witnesses`.
        mute: the same.
        digests: architecture → program → SHA-256 that the lock of artifacts names.
        authorities: name in the table of the PKI → SHA-256 of its certificate; empty where they aren't known.
        live: pairs of control and node that are asked once more on the node itself.
        ssh_config: how to get there; None where nothing is asked live.
    """

    plan: ClusterPlan
    at: datetime
    passive: bool
    nodes: dict[str, Any]
    away: dict[str, str]
    mute: dict[str, str]
    digests: dict[str, dict[str, str]]
    authorities: dict[str, str]
    live: tuple[tuple[str, str], ...]
    ssh_config: Path | None

    @property
    def snapshot(self) -> Snapshot:
        """The facts."""
        return Snapshot(self.at, self.passive, self.nodes, self.away, self.mute)


_INPUT = TypeAdapter(SuiteInput)
_OBSERVATION = TypeAdapter(Observation)
# pydantic needs what the plan's annotations name, and the plan itself imports these for type checkers only.
_NAMED = {"Path": Path, "Preset": Preset} | {
    kind.__name__: kind for kind in (policy.AdmissionPlan, policy.AuditPlan, policy.EncryptionPlan, policy.KubeletPlan)
}
_INPUT.rebuild(force=True, _types_namespace=_NAMED)
_OBSERVATION.rebuild(force=True, _types_namespace={"datetime": datetime})


def dump_input(value: SuiteInput) -> bytes:
    """As bytes of a file."""
    return _INPUT.dump_json(value)


def load_input(path: Path) -> SuiteInput:
    """Read it back.

    Raises:
        InputError: the file is missing or has another form.
    """
    try:
        return _INPUT.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror})", remedy="take the file that verify wrote"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: no input of the state suite ({place}: {first['msg']})", remedy="take the file that verify wrote"
        ) from None


def dump_observation(value: Observation) -> str:
    """As one line."""
    return _OBSERVATION.dump_json(value).decode() + "\n"


def load_observations(content: str) -> tuple[Observation, ...]:
    """Read lines back."""
    return tuple(_OBSERVATION.validate_json(line) for line in content.splitlines())
