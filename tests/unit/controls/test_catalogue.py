from __future__ import annotations

import re

import pytest
from pydantic import TypeAdapter

from kharden.controls import CONTROLS, control
from kharden.controls.lab import NOT_APPLICABLE
from kharden.errors import InputError
from kharden.spec.types import Name


def test_ids_are_unique_and_fit_a_waiver() -> None:
    ids = [entry.id for entry in CONTROLS]
    assert len(set(ids)) == len(ids)
    for identifier in ids:
        assert TypeAdapter(Name).validate_python(identifier) == identifier
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", identifier)


def test_every_control_says_what_must_hold() -> None:
    for entry in CONTROLS:
        assert entry.title[0].isupper() or entry.title.startswith("etcd")
        assert not entry.title.endswith(".")
        assert entry.all_checks
        assert entry.duties
        assert len(set(entry.checks_for(("etcd-member", *entry.duties)))) == len(entry.checks) + len(entry.with_member)
        assert entry.remedy


def test_titles_are_unique() -> None:
    titles = [entry.title for entry in CONTROLS]
    assert len(set(titles)) == len(titles)


def test_control_by_id() -> None:
    assert control("apiserver-profiling-off").severity == "medium"
    with pytest.raises(InputError, match="no-such: there is no such control"):
        control("no-such")


def test_lab_list_names_controls_and_is_short() -> None:
    for identifier in NOT_APPLICABLE:
        assert control(identifier).id == identifier
    # The list is reviewed: whoever lengthens it says so here.
    assert sorted(NOT_APPLICABLE) == ["kubelet-protects-kernel-settings", "sysctl-kernel"]
