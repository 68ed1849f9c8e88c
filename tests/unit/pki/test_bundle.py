"""Stores over time: nothing is replaced that may not be, nothing opened that need not be, no byte changed in vain."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from kharden.certificates.facts import CertificateFacts, parse_one
from kharden.errors import InputError, IntegrityError, KhardenError, MissingError, RefusedError
from kharden.pki import public, stores
from kharden.pki.bundle import identities_to_make, load_or_create
from kharden.pki.tree import LEAVES
from kharden.pki.views import for_control_plane
from kharden.plan.model import RecipientsPlan
from kharden.seal import STORES, Identities, Store, load_or_create_identity, seal, unseal
from kharden.securefile import WriteError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from kharden.pki.contents import Secrets
    from kharden.plan.model import ClusterPlan
    from tests.unit.pki.conftest import MakePlan

_DAY = timedelta(days=1)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _leaf(secrets: Secrets, node: str, name: str) -> CertificateFacts:
    return parse_one(secrets.leaves.nodes[node][name].certificate, what=name)


def _without_roots(tmp_path: Path) -> Identities:
    (tmp_path / "home/.config/kharden/roots.txt").unlink()
    return load_or_create_identity({"HOME": str(tmp_path / "home")})[0]


def _rewrite(folder: Path, store: Store, identities: Identities, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / f"{store}.age"
    content = json.loads(unseal(path.read_bytes(), identities, where=path))
    change(content)
    path.write_bytes(seal(json.dumps(content).encode(), identities.recipients[store]))


# The first time


def test_three_stores_are_made_and_nothing_beside_them(
    plan: ClusterPlan, folder: Path, identities: Identities, now: datetime
) -> None:
    assert identities_to_make(plan, folder) == STORES
    secrets, notes = load_or_create(plan, folder, identities, now)
    assert sorted(_bytes(folder)) == ["authorities.pem", "data.age", "leaves.age", "roots.age"]
    assert [path.name for path in folder.parent.iterdir()] == ["secrets"]
    assert secrets.leaves.nodes.keys() == {"cp1"}
    assert secrets.leaves.nodes["cp1"].keys() == {row.name for row in LEAVES}
    assert len(notes) == 1
    assert "cp1" in notes[0]
    assert identities_to_make(plan, folder) == ()


def test_each_store_opens_for_its_own_identity_only(
    plan: ClusterPlan, folder: Path, identities: Identities, now: datetime
) -> None:
    load_or_create(plan, folder, identities, now)
    for store in STORES:
        own = identities.recipients[store]
        for key in identities.keys:
            one = Identities((key,), {})
            path = folder / f"{store}.age"
            if str(key.to_public()) in own:
                assert unseal(path.read_bytes(), one, where=path)
            else:
                with pytest.raises(MissingError):
                    unseal(path.read_bytes(), one, where=path)


def test_control_planes_share_no_key(make_plan: MakePlan, folder: Path, identities: Identities, now: datetime) -> None:
    secrets, _ = load_or_create(make_plan(control_planes=3), folder, identities, now)
    keys = [pair.key for own in secrets.leaves.nodes.values() for pair in own.values()]
    assert len(set(keys)) == len(keys) == 3 * len(LEAVES)


def test_an_interrupted_start_leaves_nothing(
    plan: ClusterPlan, folder: Path, identities: Identities, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stores.write_store

    def full(folder: Path, store: Store, plaintext: bytes, recipients: tuple[str, ...]) -> None:
        if store == "data":
            raise WriteError("disk full")
        real(folder, store, plaintext, recipients)

    monkeypatch.setattr(stores, "write_store", full)
    with pytest.raises(WriteError):
        load_or_create(plan, folder, identities, now)
    assert list(folder.parent.iterdir()) == []


def test_a_place_that_cant_be_written_is_said(
    plan: ClusterPlan, tmp_path: Path, identities: Identities, now: datetime
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError):
        load_or_create(plan, tmp_path / "file/secrets", identities, now)


def test_other_things_in_the_folder_are_left_alone(
    plan: ClusterPlan, folder: Path, identities: Identities, now: datetime
) -> None:
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(RefusedError, match="other things"):
        load_or_create(plan, folder, identities, now)
    assert _bytes(folder) == {"notes.txt": b"mine"}


def test_without_anybody_to_seal_for_nothing_is_made(plan: ClusterPlan, folder: Path, now: datetime) -> None:
    with pytest.raises(MissingError, match="nobody to seal"):
        load_or_create(plan, folder, Identities((), {}), now)
    assert not folder.exists()


# Again


@pytest.mark.parametrize("algorithm", ["ECDSA-P256", "ECDSA-P384"])
def test_rendering_again_changes_no_key_and_no_byte(
    make_plan: MakePlan, folder: Path, identities: Identities, now: datetime, algorithm: str
) -> None:
    plan = make_plan(control_planes=3, algorithm=algorithm)
    first, _ = load_or_create(plan, folder, identities, now)
    before = _bytes(folder)
    for later in (timedelta(0), _DAY, 200 * _DAY):
        again, notes = load_or_create(plan, folder, identities, now + later, alive=True)
        assert notes == ()
        assert not again.roots.opened
        assert (again.leaves, again.data) == (first.leaves, first.data)
        assert again.roots.open() == first.roots.open()
        assert _bytes(folder) == before


def test_a_machine_without_the_roots_identity_works_while_nothing_is_due(
    plan: ClusterPlan, folder: Path, identities: Identities, now: datetime, tmp_path: Path
) -> None:
    load_or_create(plan, folder, identities, now)
    part = _without_roots(tmp_path)
    secrets, notes = load_or_create(plan, folder, part, now + _DAY)
    assert notes == ()
    share = for_control_plane(secrets, plan.nodes[0])
    assert {file.path for file in share.files if file.store == "roots"} == {"ca.key", "sa.key"}
    with pytest.raises(MissingError, match=r"roots\.age"):
        load_or_create(plan, folder, part, now + 300 * _DAY)


# Issuing again


def test_leaves_are_renewed_in_the_last_third_of_their_life(
    make_plan: MakePlan, folder: Path, identities: Identities, now: datetime
) -> None:
    plan = make_plan(leaf_days=30)
    first, _ = load_or_create(plan, folder, identities, now)
    assert load_or_create(plan, folder, identities, now + 19 * _DAY)[1] == ()
    later = now + 20 * _DAY
    renewed, notes = load_or_create(plan, folder, identities, later)
    assert notes == (
        f"opened {folder}/roots.age",
        f"issued {len(LEAVES)} certificates: in the last third of its life",
    )
    for name, pair in renewed.leaves.nodes["cp1"].items():
        assert _leaf(renewed, "cp1", name).not_after == later + 30 * _DAY
        assert pair.key != first.leaves.nodes["cp1"][name].key
    roots, old = renewed.roots.open(), first.roots.open()
    assert roots.authorities == old.authorities
    assert roots.service_account_keys == old.service_account_keys
    assert roots.super_admin != old.super_admin
    assert renewed.data == first.data
    assert load_or_create(plan, folder, identities, later)[1] == ()


def test_expired_leaves_are_renewed(plan: ClusterPlan, folder: Path, identities: Identities, now: datetime) -> None:
    load_or_create(plan, folder, identities, now)
    later = now + 1000 * _DAY
    secrets, _ = load_or_create(plan, folder, identities, later)
    assert all(_leaf(secrets, "cp1", row.name).not_after == later + 365 * _DAY for row in LEAVES)


def test_a_missing_name_is_found_and_only_that_leaf_is_issued(
    make_plan: MakePlan, folder: Path, identities: Identities, now: datetime
) -> None:
    first, _ = load_or_create(make_plan(), folder, identities, now)
    plan = make_plan(external=("api.example.org", "2001:db8::99"))
    second, notes = load_or_create(plan, folder, identities, now + _DAY)
    assert "issued cp1/apiserver: it lacked 2001:db8::99, api.example.org" in notes
    assert "api.example.org" in _leaf(second, "cp1", "apiserver").dns
    changed = {name for name, pair in second.leaves.nodes["cp1"].items() if pair != first.leaves.nodes["cp1"][name]}
    assert changed == {"apiserver"}
    _, notes = load_or_create(make_plan(), folder, identities, now + _DAY)
    assert "issued cp1/apiserver: it had 2001:db8::99, api.example.org too many" in notes


def test_a_shorter_life_in_the_spec_reaches_the_leaves(
    make_plan: MakePlan, folder: Path, identities: Identities, now: datetime
) -> None:
    load_or_create(make_plan(), folder, identities, now)
    secrets, notes = load_or_create(make_plan(leaf_days=10), folder, identities, now)
    assert f"issued {len(LEAVES)} certificates: its life is longer than the spec allows" in notes
    assert {_leaf(secrets, "cp1", row.name).not_after for row in LEAVES} == {now + 10 * _DAY}
    assert load_or_create(make_plan(), folder, identities, now)[1] == ()


def test_another_algorithm_reaches_the_leaves_and_spares_the_roots(
    make_plan: MakePlan, folder: Path, identities: Identities, now: datetime
) -> None:
    first, _ = load_or_create(make_plan(), folder, identities, now)
    second, notes = load_or_create(make_plan(algorithm="ECDSA-P384"), folder, identities, now)
    assert {_leaf(second, "cp1", row.name).algorithm for row in LEAVES} == {"ECDSA-P384"}
    assert "ca keeps its ECDSA-P256 key until it is rotated" in notes
    assert second.roots.open().authorities == first.roots.open().authorities
    assert second.roots.open().service_account_keys == first.roots.open().service_account_keys


def test_nodes_come_and_go(make_plan: MakePlan, folder: Path, identities: Identities, now: datetime) -> None:
    three, one = make_plan(control_planes=3), make_plan(control_planes=1)
    first, _ = load_or_create(one, folder, identities, now)
    grown, notes = load_or_create(three, folder, identities, now)
    assert f"issued {2 * len(LEAVES)} certificates: new" in notes
    assert grown.leaves.nodes["cp1"] == first.leaves.nodes["cp1"]
    shrunk, notes = load_or_create(one, folder, identities, now)
    assert shrunk.leaves.nodes == first.leaves.nodes
    assert notes == tuple(
        f"dropped the certificates of {name}: it is neither control plane nor member of etcd any more"
        for name in ("cp2", "cp3")
    )
    assert not shrunk.roots.opened


def test_an_authority_that_nears_its_end_is_told_of_and_leaves_are_not_issued_over_and_over(
    make_plan: MakePlan, folder: Path, identities: Identities, now: datetime
) -> None:
    plan = make_plan(authority_days=100, leaf_days=60)
    load_or_create(plan, folder, identities, now)
    cut, notes = load_or_create(plan, folder, identities, now + 50 * _DAY)
    assert _leaf(cut, "cp1", "apiserver").not_after == now + 100 * _DAY
    before = _bytes(folder)
    for later in (99 * _DAY, 101 * _DAY):
        _, notes = load_or_create(plan, folder, identities, now + later)
        assert _bytes(folder) == before
        assert any("ca ends on 2026-06-09" in note or "ca expired on 2026-06-09" in note for note in notes)


def test_an_expired_authority_is_reported_and_never_replaced(
    make_plan: MakePlan, folder: Path, identities: Identities, now: datetime
) -> None:
    plan = make_plan(authority_days=30, leaf_days=30)
    first, _ = load_or_create(plan, folder, identities, now)
    before, later = _bytes(folder), now + 31 * _DAY
    second, notes = load_or_create(plan, folder, identities, later)
    assert second.authority == first.authority
    assert [note for note in notes if "ca expired on 2026-03-31: it has to be rotated" in note]
    with pytest.raises(RefusedError, match="only by its rotation"):
        load_or_create(make_plan(authority_days=30, control_planes=3), folder, identities, later)
    assert _bytes(folder) == before


# Losses


def test_a_living_cluster_without_stores_is_never_started_anew(
    plan: ClusterPlan, folder: Path, identities: Identities, now: datetime
) -> None:
    with pytest.raises(RefusedError, match="has been built"):
        load_or_create(plan, folder, identities, now, alive=True)
    assert not folder.exists()


@pytest.mark.parametrize("lost", [("roots",), ("data",), ("roots", "data"), ("roots", "leaves"), ("leaves", "data")])
def test_what_cant_be_made_again_is_not(
    plan: ClusterPlan, folder: Path, identities: Identities, now: datetime, lost: tuple[str, ...]
) -> None:
    load_or_create(plan, folder, identities, now)
    for store in lost:
        (folder / f"{store}.age").unlink()
    before = _bytes(folder)
    for alive in (True, False):
        with pytest.raises(MissingError, match="can't be made again"):
            load_or_create(plan, folder, identities, now, alive=alive)
    assert _bytes(folder) == before


def test_lost_leaves_are_issued_again_from_the_same_roots(
    plan: ClusterPlan, folder: Path, identities: Identities, now: datetime
) -> None:
    first, _ = load_or_create(plan, folder, identities, now)
    kept = _bytes(folder)
    (folder / "leaves.age").unlink()
    second, notes = load_or_create(plan, folder, identities, now, alive=True)
    assert f"issued {len(LEAVES)} certificates: new" in notes
    assert second.leaves.trust == first.leaves.trust
    after = _bytes(folder)
    assert (after["roots.age"], after["data.age"]) == (kept["roots.age"], kept["data.age"])
    assert load_or_create(plan, folder, identities, now)[1] == ()


@pytest.mark.parametrize("content", [None, b"", b"# ca\nnothing"])
def test_what_is_public_is_what_the_stores_say(
    plan: ClusterPlan, folder: Path, identities: Identities, now: datetime, content: bytes | None
) -> None:
    secrets, _ = load_or_create(plan, folder, identities, now)
    path, wanted = folder / public.FILE, public.fingerprints(folder)
    assert wanted == {name: parse_one(pem, what=name).sha256 for name, pem in secrets.leaves.trust.authorities.items()}
    before = path.read_bytes()
    assert b"PRIVATE" not in before
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        with pytest.raises(InputError, match="does not hold the authorities"):
            public.fingerprints(folder)
    _, notes = load_or_create(plan, folder, identities, now)
    assert path.read_bytes() == before
    assert notes == (f"wrote {path}: it was not what the stores say",)


def test_a_broken_link_is_not_taken_for_a_start(
    plan: ClusterPlan, folder: Path, identities: Identities, now: datetime
) -> None:
    folder.mkdir(parents=True)
    for store in STORES:
        (folder / f"{store}.age").symlink_to("/nonexistent")
    with pytest.raises(MissingError, match="can't read"):
        load_or_create(plan, folder, identities, now)


# Damage


def _swap_ca_key(content: dict[str, Any]) -> None:
    content["authorities"]["ca"]["key"] = content["authorities"]["etcd-ca"]["key"]


def _swap_leaf_key(content: dict[str, Any]) -> None:
    content["nodes"]["cp1"]["apiserver"]["key"] = content["nodes"]["cp1"]["admin"]["key"]


def _swap_leaf(content: dict[str, Any]) -> None:
    content["nodes"]["cp1"]["etcd-peer"] = content["nodes"]["cp1"]["admin"]


def _short_key(content: dict[str, Any]) -> None:
    content["encryptionKeys"][0]["secret"] = base64.b64encode(b"x" * 16).decode()


def _renamed_key(content: dict[str, Any]) -> None:
    content["encryptionKeys"][0]["secret"] = base64.b64encode(b"x" * 32).decode()


@pytest.mark.parametrize(
    ("store", "change", "message"),
    [
        ("roots", _swap_ca_key, "ca: the key is not the certificate's"),
        ("leaves", _swap_leaf_key, "cp1/apiserver: the key is not the certificate's"),
        ("leaves", _swap_leaf, "cp1/etcd-peer: not signed by its authority"),
        ("data", _short_key, "has 16 bytes, not 32"),
        ("data", _renamed_key, "is not the one of that name"),
        ("data", lambda content: content.update(encryptionKeys=[]), "holds no encryption key"),
        ("data", lambda content: content.update(authority="00"), "for another cluster"),
        ("data", lambda content: content.update(cluster="other"), "made for the cluster 'other'"),
        ("data", lambda content: content.update(schema=2), "of this kind and version"),
        ("leaves", lambda content: content.pop("trust"), "of this kind and version"),
        ("leaves", lambda content: content.update(store="roots"), "of this kind and version"),
        ("roots", lambda content: content["authorities"].pop("people-ca"), "of this kind and version"),
        ("roots", lambda content: content.update(serviceAccountKeys=["x"]), "of this kind and version"),
    ],
)
def test_what_doesnt_fit_stops_everything(  # noqa: PLR0917  # pytest gives them by name
    plan: ClusterPlan,
    folder: Path,
    identities: Identities,
    now: datetime,
    store: Store,
    change: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    load_or_create(plan, folder, identities, now)
    _rewrite(folder, store, identities, change)
    before = _bytes(folder)
    with pytest.raises(IntegrityError, match=message) as caught:
        # In their last third, so that the roots are opened too.
        load_or_create(plan, folder, identities, now + 300 * _DAY)
    assert str(folder / f"{store}.age") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _bytes(folder) == before


def test_leaves_of_other_roots_are_noticed(
    plan: ClusterPlan, tmp_path: Path, identities: Identities, now: datetime
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    load_or_create(plan, one, identities, now)
    load_or_create(plan, two, identities, now)
    (one / "roots.age").write_bytes((two / "roots.age").read_bytes())
    assert load_or_create(plan, one, identities, now)[1] == ()
    with pytest.raises(IntegrityError, match="other roots"):
        load_or_create(plan, one, identities, now + 300 * _DAY)
    (one / "leaves.age").write_bytes((two / "leaves.age").read_bytes())
    with pytest.raises(IntegrityError, match="another cluster"):
        load_or_create(plan, one, identities, now)


@pytest.mark.parametrize("store", STORES)
def test_a_damaged_store_stops_everything(
    plan: ClusterPlan, folder: Path, identities: Identities, now: datetime, store: Store
) -> None:
    load_or_create(plan, folder, identities, now)
    path = folder / f"{store}.age"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(KhardenError, match="damaged"):
        load_or_create(plan, folder, identities, now + 300 * _DAY)


# Recipients


def test_each_store_is_sealed_for_those_whom_the_spec_names(
    make_plan: MakePlan, folder: Path, identities: Identities, now: datetime, tmp_path: Path
) -> None:
    other = load_or_create_identity({"HOME": str(tmp_path / "other")}, create=STORES)[0]
    old = make_plan()
    first, _ = load_or_create(old, folder, identities, now)
    before = _bytes(folder)
    team = {store: (*identities.recipients[store], *other.recipients[store]) for store in STORES}
    plan = replace(old, recipients=RecipientsPlan(team["roots"], team["leaves"], ()))
    second, notes = load_or_create(plan, folder, identities, now)
    assert {store for store in STORES if any(f"sealed {folder}/{store}.age" in note for note in notes)} == {
        "roots",
        "leaves",
    }
    assert _bytes(folder)["data.age"] == before["data.age"]
    assert second.recipients["roots"] == tuple(sorted(team["roots"]))
    assert second.leaves.nodes == first.leaves.nodes
    whole = Identities((*other.keys, *identities.keys[2:]), {})
    assert load_or_create(plan, folder, whole, now)[1] == ()
    # An empty list has no opinion: nobody is locked out, no byte changes.
    before = _bytes(folder)
    assert load_or_create(old, folder, identities, now)[1] == ()
    assert _bytes(folder) == before


def test_changed_recipients_of_the_roots_need_the_roots(
    make_plan: MakePlan, folder: Path, identities: Identities, now: datetime, tmp_path: Path
) -> None:
    old = make_plan()
    load_or_create(old, folder, identities, now)
    plan = replace(old, recipients=RecipientsPlan(identities.recipients["leaves"], (), ()))
    with pytest.raises(MissingError, match=r"roots\.age"):
        load_or_create(plan, folder, _without_roots(tmp_path), now)


def test_a_cut_between_the_stores_is_mended_by_the_next_run(  # noqa: PLR0917  # pytest gives them by name
    make_plan: MakePlan,
    folder: Path,
    identities: Identities,
    now: datetime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = load_or_create_identity({"HOME": str(tmp_path / "other")}, create=STORES)[0]
    load_or_create(make_plan(), folder, identities, now)
    roots = (*identities.recipients["roots"], *other.recipients["roots"])
    plan = replace(make_plan(control_planes=3), recipients=RecipientsPlan(roots, (), ()))

    def cut(folder: Path, store: Store, plaintext: bytes, recipients: tuple[str, ...]) -> None:
        if store == "leaves":
            raise WriteError("power lost")
        stores.write_store(folder, store, plaintext, recipients)

    with monkeypatch.context() as patch:
        patch.setattr("kharden.pki.renew.write_store", cut)
        with pytest.raises(WriteError):
            load_or_create(plan, folder, identities, now)
    second, _ = load_or_create(plan, folder, identities, now)
    assert second.leaves.nodes.keys() == {"cp1", "cp2", "cp3"}
    assert second.recipients["roots"] == tuple(sorted(roots))
    assert load_or_create(plan, folder, identities, now)[1] == ()


def test_recipients_of_a_new_cluster_need_no_identity_here(make_plan: MakePlan, folder: Path, now: datetime) -> None:
    recipient = load_or_create_identity({"HOME": str(folder.parent)}, create=STORES)[0].recipients["roots"]
    plan = make_plan(recipients=RecipientsPlan(recipient, recipient, recipient))
    assert identities_to_make(plan, folder) == ()
    assert load_or_create(plan, folder, Identities((), {}), now)[0].recipients["data"] == recipient
