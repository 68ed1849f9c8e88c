"""Whatever a file holds, the loader gives a cluster or a list of problems, and no value of the file is in them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kharden.spec import reader
from kharden.spec.load import Loaded, load
from kharden.spec.problems import SpecError

LAB = Path(__file__).parents[3] / "inventories" / "lab-small" / "cluster.yaml"
VALID = LAB.read_text(encoding="utf-8")
DATA: dict[str, Any] = yaml.safe_load(VALID)
# No name, and one that could be: neither may be shown.
SECRETS = ("Canary/Hunter2+deadbeef==", "canary-hunter2-deadbeef", "AGE-SECRET-KEY-1" + "CANARY" * 10)

# Characters and words that mean something to YAML or to us, so that mutations go further than syntax errors.
_TOKENS = st.sampled_from(
    [
        *"[]{}:,-?!&*|>'\"%@`#~ \n\t\r=<\\/",
        *(
            "\n  ",
            "\n    - ",
            ": ",
            "- ",
            "<<: ",
            "---\n",
            "!!python/object:os.system ",
            "&a ",
            "*a ",
            "{{ x }}",
            "\\ud800",
        ),
        *(
            "true",
            "null",
            "no",
            "0644",
            "1e9",
            "9" * 400,
            "10.0.0.0/8",
            "::/0",
            "fe80::1%a",
            "é",
            "\U0001d4b3",
            "\u202e",
            "\0",
            "\ufeff",
        ),
        *(
            "name",
            "spec",
            "nodes",
            "lab",
            "ssh",
            "address",
            "podCIDRs",
            "waivers",
            "expires",
            "external",
            "control-plane",
        ),
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | _TOKENS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | _TOKENS, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module", params=[reader.LOADER, yaml.SafeLoader], ids=["libyaml", "python"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401  # a generator
    folder = tmp_path_factory.mktemp("hostile") / LAB.parent.name
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "LOADER", request.param)
        yield folder / "cluster.yaml"


def outcome(path: Path, content: bytes) -> Loaded | SpecError:
    path.write_bytes(content)
    try:
        return load(path)
    except SpecError as error:
        found = error
    lines = content.decode("utf-8", "replace").split("\n")
    assert found.problems
    for problem in found.problems:
        assert problem.message
        assert problem.remedy
        assert str(problem).isprintable()
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
    return found


@settings(max_examples=150)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(path: Path, content: bytes) -> None:
    assert isinstance(outcome(path, content), SpecError)


@settings(max_examples=300)
@given(st.data())
def test_a_valid_text_with_anything_put_in(path: Path, data: st.DataObject) -> None:
    text = VALID
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(len(text), start + 30)))
        text = (
            text[:start]
            + "".join(data.draw(st.lists(_TOKENS | st.characters(codec="utf-8"), max_size=5)))
            + text[stop:]
        )
    outcome(path, text.encode())


def _paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for step, one in inner for found in _paths(one, (*path, step)))]


def _with(path: tuple[str | int, ...], value: object) -> object:
    if not path:
        return value
    data = json.loads(json.dumps(DATA))
    target = data
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return data


@settings(max_examples=300)
@given(where=st.sampled_from(_paths(DATA)), value=_VALUES)
def test_a_valid_tree_with_anything_in_one_place(path: Path, where: tuple[str | int, ...], value: object) -> None:
    # JSON is YAML, so this reaches every kind of value at every place.
    outcome(path, json.dumps(_with(where, value)).encode())


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "shape", ["{}", '["{}"]', '{{"a": "{}"}}', '"{}', "{}: [", "!{} x", "&{} x", "*{}", "\t{}", "'{}\\"]
)
def test_no_value_is_shown(path: Path, secret: str, shape: str) -> None:
    wrong = shape.format(secret)
    for where in _paths(DATA):
        spec = json.dumps(_with(where, "PLACE")).replace('"PLACE"', wrong)
        found = outcome(path, spec.encode())
        if isinstance(found, SpecError):
            shown = "\n".join([str(found), repr(found), *found.details, *(repr(one) for one in found.problems)])
            assert secret not in shown
            assert "hunter2" not in shown.lower()
            assert found.__cause__ is None
            assert found.__suppress_context__ or found.__context__ is None


def test_a_secret_as_a_key_is_not_shown(path: Path) -> None:
    for secret in (SECRETS[0], SECRETS[2], "abcdef.0123456789abcdef", "two words"):
        found = outcome(path, f"{VALID}\n  {secret}: 1\n  ? {secret}\n".encode())
        assert isinstance(found, SpecError)
        assert [one.path for one in found.problems] == ["spec.?"]
        assert secret not in "\n".join(found.details)


def test_a_bomb_costs_nothing(path: Path) -> None:
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 500))
    with suppress(SpecError):
        path.write_text(f"a0: &a0 [x]\n{levels}", encoding="utf-8")
        load(path)
