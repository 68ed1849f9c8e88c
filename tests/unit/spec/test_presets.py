"""The table of presets, and what is weaker than a preset."""

from __future__ import annotations

from datetime import date

import pytest

from kharden.controls import CONTROLS
from kharden.spec import presets, schema
from kharden.spec.floors import expired, weaknesses
from kharden.spec.presets import SETTINGS, Preset

from .test_rules import cluster, messages

PRESETS: tuple[Preset, ...] = ("baseline", "cis", "stig")


def test_every_setting_says_who_asks_for_it_and_names_a_control_where_a_value_is_weaker() -> None:
    known = {control.id for control in CONTROLS}
    for setting in SETTINGS:
        assert setting.sources, setting.what
        assert bool(setting.control) == bool(setting.weaker)
        assert setting.control in known or not setting.control
        assert not setting.key or schema.field(setting.key), setting.what
        assert bool(setting.order) == (setting.weaker == "earlier in the order")


@pytest.mark.parametrize("preset", PRESETS)
def test_what_a_preset_decides_is_not_weaker_than_itself(preset: Preset) -> None:
    assert list(weaknesses(cluster(preset=preset))) == []
    written = cluster(
        preset=preset,
        audit={"layers": presets.AUDIT_LAYERS.of(preset), "maxAgeDays": presets.AUDIT_MAX_AGE.of(preset)},
        admission={"podSecurity": presets.POD_SECURITY.of(preset)},
        encryption={"resources": presets.ENCRYPTED_RESOURCES.of(preset)},
    )
    assert messages(written) == []


def test_what_a_milder_preset_decides_is_weaker() -> None:
    weak = list(weaknesses(cluster(preset="cis", admission={"podSecurity": presets.POD_SECURITY.of("baseline")})))
    assert [(one.path, one.control) for one in weak] == [(presets.POD_SECURITY.key, "pod-security-enforced")]


@pytest.mark.parametrize(("today", "count"), [(date(2027, 1, 31), 0), (date(2027, 2, 1), 1)])
def test_a_waiver_holds_to_the_end_of_its_day(today: date, count: int) -> None:
    waiver = {"control": "apiserver-audit-log-age", "owner": "o", "reason": "r", "expires": "2027-01-31"}
    found = cluster(audit={"maxAgeDays": 7}, waivers=(waiver,))
    assert messages(found) == []
    assert len(list(expired(found, today))) == count


def test_an_expired_waiver_that_nothing_needs_is_no_problem() -> None:
    waiver = {"control": "apiserver-audit-log-age", "owner": "o", "reason": "r", "expires": "2027-01-31"}
    assert list(expired(cluster(waivers=(waiver,)), date(2030, 1, 1))) == []
