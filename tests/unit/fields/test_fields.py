"""No field of cluster.yaml is read and ignored: another value changes a rendered byte, a plan line or a verdict."""

from __future__ import annotations

import copy
import re
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kharden.seal import STORES, Identities, load_or_create_identity
from kharden.spec import schema
from kharden.spec.problems import dotted
from tests.unit.pki.authorities import Authority

from .effects import Parts, effects
from .flips import ABSENT, FLIPS, Flip

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
NAMES = ("real", "lab", "authority", "dual")
BASES: dict[str, dict[str, Any]] = {name: yaml.safe_load((HERE / f"{name}.yaml").read_text()) for name in NAMES}

IGNORED = """\
{path} is another value, and nothing became different.
Either it is parsed and ignored, which no field may be: let something be rendered, planned or judged from it.
Or what it decides isn't looked at: add that to effects() in tests/unit/fields/effects.py."""
UNLISTED = """\
has no entry in FLIPS: add one to tests/unit/fields/flips.py, a value that real.yaml beside it doesn't have there.
If real.yaml has no such section or an empty list, give it one."""


def fields() -> Iterator[str]:
    """Every field that has more than one possible value, and isn't a section itself."""
    for path, section in schema.sections():
        for key, described in section["properties"].items():
            whole = schema.resolved(described)
            if "properties" not in whole and "const" not in whole:
                yield dotted((*path, key)).replace("[0]", "[]")


@pytest.mark.parametrize("path", sorted(set(fields())))
def test_every_field_has_another_value(path: str) -> None:
    assert path in FLIPS, f"{path} {UNLISTED}"


def test_no_flip_is_of_a_field_that_is_gone() -> None:
    assert FLIPS.keys() <= set(fields())


def steps(place: str) -> list[str | int]:
    return [int(number) if number else key for key, number in re.findall(r"([A-Za-z]\w*)|\[(\d+)\]", place)]


def changed(document: dict[str, Any], place: str, value: object) -> None:
    *way, last = steps(place)
    inner: Any = document
    for step, following in zip([*way], [*way[1:], last], strict=True):
        if isinstance(inner, dict) and step not in inner:
            inner[step] = [] if isinstance(following, int) else {}
        inner = inner[step]
    if value is ABSENT:
        del inner[last]
    elif isinstance(inner, list) and last == len(inner):
        inner.append(value)
    else:
        assert (inner.get(last, ABSENT) if isinstance(inner, dict) else inner[last]) != value, f"{place} has that value"
        inner[last] = value


AUTHORITY = Authority()


def written(document: dict[str, Any], folder: Path, identities: Identities) -> Path:
    path = folder / str(document["metadata"]["name"]) / "cluster.yaml"
    path.parent.mkdir(parents=True)
    AUTHORITY.supply(path.parent, identities.recipients["roots"][0])
    path.with_name("network.yaml").write_text("kind: Namespace\n", encoding="utf-8")
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    return load_or_create_identity({"HOME": str(tmp_path_factory.mktemp("home"))}, create=STORES)[0]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, identities: Identities) -> dict[str, list[Parts]]:
    """What the files as they are decide."""
    folder = tmp_path_factory.mktemp("bases")
    return {
        name: list(effects(written(document, folder / name, identities), folder / f"{name}-effects", identities))
        for name, document in BASES.items()
    }


def differs(bases: dict[str, list[Parts]], identities: Identities, path: str, folder: Path) -> bool:
    entry = FLIPS[path]
    flip = entry if isinstance(entry, Flip) else Flip({path.replace("[]", "[0]"): entry})
    document = copy.deepcopy(BASES[flip.of])
    for place, value in flip.changes.items():
        changed(document, place, value)
    found = effects(written(document, folder / "flipped", identities), folder / "effects", identities)
    return any(before != after for before, after in zip_longest(bases[flip.of], found))


@pytest.mark.parametrize("path", sorted(FLIPS))
def test_another_value_makes_a_difference(
    bases: dict[str, list[Parts]], identities: Identities, path: str, tmp_path: Path
) -> None:
    assert differs(bases, identities, path, tmp_path), IGNORED.format(path=path)


def test_the_same_file_makes_none(bases: dict[str, list[Parts]], identities: Identities, tmp_path: Path) -> None:
    for name, document in BASES.items():
        path = written(copy.deepcopy(document), tmp_path / name, identities)
        assert list(effects(path, tmp_path / f"{name}-effects", identities)) == bases[name]
