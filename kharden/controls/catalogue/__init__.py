"""The catalogue: every control, once, grouped by what it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.controls.catalogue import (
    admission,
    apiserver,
    certificates,
    components,
    files,
    firewall,
    gates,
    kubelet,
    machine,
    objects,
    reach,
    sshd,
    state,
)
from kharden.errors import InputError

if TYPE_CHECKING:
    from kharden.controls.model import Control

CONTROLS: tuple[Control, ...] = (
    *files.CONTROLS,
    *apiserver.CONTROLS,
    *components.CONTROLS,
    *kubelet.CONTROLS,
    *gates.CONTROLS,
    *certificates.CONTROLS,
    *reach.CONTROLS,
    *firewall.CONTROLS,
    *admission.CONTROLS,
    *objects.CONTROLS,
    *state.CONTROLS,
    *machine.CONTROLS,
    *sshd.CONTROLS,
)
_BY_ID = {control.id: control for control in CONTROLS}


def control(identifier: str) -> Control:
    """The control of this id.

    Raises:
        InputError: there is none.
    """
    if identifier not in _BY_ID:
        raise InputError(f"{identifier}: there is no such control", remedy="take an id from a report")
    return _BY_ID[identifier]
