from __future__ import annotations

import pytest
import yaml

from kharden.spec import reader
from kharden.spec.document import Refused
from kharden.spec.problems import Place, dotted
from kharden.spec.reader import MAX_DEPTH, read


@pytest.fixture(params=[reader.LOADER, yaml.SafeLoader], ids=["libyaml", "python"], autouse=True)
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "LOADER", request.param)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-7", -7),
        ("65535", 65535),
        *[
            (text, text)
            for text in (
                *("yes", "no", "on", "off", "True", "FALSE", "y", "n", "Null", "NULL"),
                *(
                    "1.30",
                    "1.36.3",
                    "1e3",
                    ".5",
                    "0644",
                    "0o644",
                    "0x1f",
                    "0b1",
                    "1_000",
                    "+5",
                    "12:30:45",
                    "1:30",
                ),
                *("2027-01-31", "2027-01-31T00:00:00Z", ".inf", ".nan", "=", "{{x}}"[2:-2], "a b", "é漢𝒳"),
            )
        ],
        ('"true"', "true"),
        ("'5'", "5"),
        ('"{{ x }}"', "{{ x }}"),
        ("a {{ x }}", "a {{ x }}"),
        ("|-\n  5", "5"),
        (">\n  a\n  b\n", "a b\n"),
        ('""', ""),
    ],
)
def test_nothing_is_retyped(text: str, value: object) -> None:
    found = read(f"key: {text}")
    assert not found.findings
    assert isinstance(found.data, dict)
    assert found.data["key"] == value
    assert type(found.data["key"]) is type(value)


def test_a_number_of_any_length_is_a_number() -> None:
    data = read(f"- {'9' * 5000}\n- -{'9' * 5000}\n").data
    assert isinstance(data, tuple)
    assert data[0] > 10**90
    assert data[1] < -(10**90)


def test_places_are_those_that_editors_show() -> None:
    found = read('a: "é漢𝒳"\nb:\n  - c: 1\n    d: [x, "é", y]\n  - {e: f}\n')
    assert found.values["a",] == Place(1, 4)
    assert found.keys["b",] == Place(2, 1)
    assert found.keys["b", 0, "d"] == Place(4, 5)
    assert found.values["b", 0, "d", 2] == Place(4, 17)
    assert found.values["b", 1, "e"] == Place(5, 9)


def test_what_is_not_there_is_where_it_would_be() -> None:
    found = read("# c\na:\n  - b: 1\n  - c\n")
    assert found.place(("a", 0, "missing", "too")) == Place(3, 5)
    assert found.place(("a",)) == Place(2, 1)
    assert found.place(("a", 1)) == Place(4, 5)
    assert found.place(("missing",)) == Place(1, 1)
    assert found.place(()) == Place(1, 1)


def test_nothing_is_found_where_nothing_is() -> None:
    found = read("a: [b]")
    assert found.at(("a", 0)) == "b"
    for path in [("b",), ("a", 1), ("a", "b"), ("a", 0, 0)]:
        assert found.at(path) is None


def test_what_is_refused_stands_for_nothing() -> None:
    found = read("a: !x 1\nb: *c\nd: {<<: {e: 1}, f: 2}\ng: &h i\n")
    assert isinstance(found.at(("a",)), Refused)
    assert isinstance(found.at(("b",)), Refused)
    assert found.at(("d",)) == {"f": 2}
    assert found.at(("g",)) == "i"
    assert found.incomplete == {("d",)}
    assert [dotted(finding.path) for finding in found.findings] == ["a", "b", "d", "g"]


def test_the_first_of_two_counts() -> None:
    found = read("a: 1\nb: 2\na: {c: [d, {e: f}]}\nb: 3\n")
    assert found.data == {"a": 1, "b": 2}
    assert [finding.place for finding in found.findings] == [Place(3, 1), Place(4, 1)]


def test_depth_is_counted_also_where_nothing_is_kept() -> None:
    deep = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert not read(f"a: {deep}").findings
    for text in (f"a: [{deep}]", f"a: 1\na: [{deep}]", f"[{deep}]: 1", f"!t [[{deep}]]"):
        assert read(text).findings[-1].message == "values are nested more than 20 deep"


@pytest.mark.parametrize(
    "text",
    [
        *("a: b: c", "a: [1", "a: {b", "\ta: 1", "a: 'x", 'a: "x', "a: @x", "a: `x", "a: %x", 'a: "\\q"', "[,]"),
        *(
            "key\nb: 1",
            "a:\n  - b\n c: 1",
            "a: !foo!bar x",
            "%YAML 3.0\n---\n",
            "a: &\n",
            "a: *",
            "- a\nb",
        ),
        *("a: - b", "a\n  b: c", '"a" "b"', "a: |x\n  b", "'\n---\n", "? a\n- b", "{a: b}}", "a: [b]]", "%YAML 1\n"),
        *(
            'a: "\\ud800"',
            'a: "\\UFFFFFFFF"',
            'a: "\\x"',
            f"%YAML 1.{'9' * 5000}\n---\na: b",
            "!<a",
            "a: !<>",
            "&a &b c",
        ),
    ],
)
def test_what_is_no_yaml_is_told_in_our_words(text: str) -> None:
    findings = read(text).findings
    assert findings
    for finding in findings:
        assert finding.remedy
        assert "expected" not in finding.message
        assert "found" not in finding.message
        place = finding.place
        assert place
        lines = text.split("\n")
        assert 1 <= place.line <= len(lines)
        assert 1 <= place.column <= len(lines[place.line - 1]) + 1
