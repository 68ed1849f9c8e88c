"""A person's kubeconfig: what it holds, where it goes, and what is refused."""

from __future__ import annotations

import base64
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import yaml

from kharden import personal
from kharden.certificates.facts import parse_one
from kharden.errors import InputError, RefusedError
from kharden.pki.bundle import load_or_create
from kharden.plan.endpoints import people_server
from kharden.plan.objects import ADMINISTRATORS
from kharden.seal import STORES, load_or_create_identity
from tests.unit.render.stand_ins import GOLDEN, planned

if TYPE_CHECKING:
    from pathlib import Path

    from kharden.plan.model import ClusterPlan

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def plan() -> ClusterPlan:
    """With keys that are quickly made."""
    plan = planned(GOLDEN / "ha/cluster.yaml")
    return replace(plan, pki=replace(plan.pki, algorithm="ECDSA-P256"))


@pytest.fixture
def secrets(plan: ClusterPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KHARDEN_IDENTITY", raising=False)
    identities, _ = load_or_create_identity({"HOME": str(tmp_path)}, create=STORES)
    load_or_create(plan, tmp_path / "secrets", identities, NOW)
    (tmp_path / "secrets/leaves.age").unlink()
    (tmp_path / "secrets/data.age").unlink()  # neither is opened
    return tmp_path / "secrets"


def test_it_holds_one_context_with_a_certificate_of_an_hour_for_a_group_that_rbac_knows(
    plan: ClusterPlan, secrets: Path, tmp_path: Path
) -> None:
    path = tmp_path / "below/ha.kubeconfig"
    person = personal.Person("jane", (ADMINISTRATORS,), timedelta(minutes=30))
    given = personal.give(plan, secrets, person, path, NOW)
    assert given.expires == NOW + timedelta(minutes=30)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    content = yaml.safe_load(path.read_text())
    assert content["current-context"] == content["contexts"][0]["name"] == "jane@ha"
    (cluster,) = content["clusters"]
    assert cluster["cluster"].keys() == {"certificate-authority-data", "server"}
    assert cluster["cluster"]["server"] == given.server == "https://api.example.org:6443"
    facts = parse_one(base64.b64decode(content["users"][0]["user"]["client-certificate-data"]), what="jane")
    assert (facts.common_name, facts.organizations) == ("jane", (ADMINISTRATORS,))
    assert any("roots.age: was opened" in note for note in given.notes)
    personal_again = personal.give(plan, secrets, person, path, NOW + timedelta(hours=2))
    assert personal_again.expires == NOW + timedelta(hours=2, minutes=30)


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "config"
    personal.require_free(path)
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RefusedError, match="is there already: add --replace, or name another with --output"):
        personal.require_free(path)


@pytest.mark.parametrize("hours", ["0", "-1", "1.01", "nan", "inf", "an hour", ""])
def test_more_than_an_hour_is_not_given(hours: str) -> None:
    with pytest.raises(InputError, match="is not a part of an hour: write a number up to 1"):
        personal.lifetime(hours)


def test_parts_of_an_hour() -> None:
    assert personal.lifetime("1") == timedelta(hours=1)
    assert personal.lifetime("0.25") == timedelta(minutes=15)


def test_masters_are_never_made(plan: ClusterPlan, secrets: Path, tmp_path: Path) -> None:
    person = personal.Person("jane", ("system:masters",), timedelta(hours=1))
    with pytest.raises(InputError, match="reserved for Kubernetes itself"):
        personal.give(plan, secrets, person, tmp_path / "x", NOW)
    assert not (tmp_path / "x").exists()


def test_it_goes_into_memory_where_there_is_a_folder_for_it(tmp_path: Path) -> None:
    assert personal.default_path({"XDG_RUNTIME_DIR": "/run/user/7"}, "c").parent.parts[:4] == ("/", "run", "user", "7")
    home = personal.default_path({"XDG_RUNTIME_DIR": "relative", "HOME": str(tmp_path)}, "c")
    assert home == tmp_path / ".config/kharden/kubeconfigs/c.kubeconfig"


def test_without_a_name_for_people_the_first_control_plane_is_asked() -> None:
    assert people_server(planned(GOLDEN / "lab/cluster.yaml")) == "https://10.77.0.11:6443"
