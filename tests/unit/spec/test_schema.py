from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from kharden.spec import judgement, schema, types
from kharden.spec.load import load
from kharden.spec.model import Cluster
from kharden.spec.preset_reference import presets_page
from kharden.spec.problems import Finding
from kharden.spec.reader import read
from kharden.spec.reference import reference
from kharden.spec.schema import json_schema, sections, takes

DOCS = Path(__file__).parents[3] / "docs" / "reference"
INVENTORIES = Path(__file__).parents[3] / "inventories"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cluster.schema.json", json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"),
        ("cluster.md", reference()),
        ("presets.md", presets_page()),
    ],
)
def test_the_reference_is_the_models(name: str, text: str) -> None:
    path = DOCS / name
    if os.environ.get("KHARDEN_REGENERATE") == "1":
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{name} was written anew: read it, then run without KHARDEN_REGENERATE")
    stale = f"{name} isn't what the model says: run this test with KHARDEN_REGENERATE=1"
    assert path.read_text(encoding="utf-8") == text, stale


def test_everything_is_described() -> None:
    for path, section in sections():
        assert section["description"], path
        assert section["additionalProperties"] is False
        for key, field in section["properties"].items():
            assert field.get("description") or schema.resolved(field)["description"], (path, key)


def test_every_number_has_its_limits() -> None:
    numbers = [
        field for _, section in sections() for field in section["properties"].values() if field.get("type") == "integer"
    ]
    assert len(numbers) > 5
    assert all(abs(field["minimum"]) < 10**90 and field["maximum"] < 10**90 for field in numbers)


def test_nothing_may_be_null_and_nothing_is_named_after_a_class() -> None:
    text = json.dumps(json_schema())
    assert '"null"' not in text
    assert text.count('"title"') == 1


def test_every_reference_leads_somewhere() -> None:
    for name in re.findall(r'"#/\$defs/([A-Za-z]+)"', json.dumps(json_schema())):
        assert name in json_schema()["$defs"]


@pytest.mark.parametrize(
    "name",
    ["UserName", "KubernetesVersion", "Resource", "Day", "Address", "Network", "External"],
)
def test_every_example_is_taken(name: str) -> None:
    adapter = TypeAdapter(getattr(types, name))
    words = re.search(r"such as (.*)", takes(adapter.json_schema()))
    assert words
    for example in words[1].split(" or "):
        adapter.validate_python(example, strict=True)


@pytest.mark.parametrize("name", ["lab", "lab-small", "ha"])
def test_every_example_names_the_schema_and_is_valid_without_a_warning(name: str) -> None:
    path = INVENTORIES / name / "cluster.yaml"
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=../../docs/reference/cluster.schema.json"
    assert load(path).warnings == ()


def test_words_for_a_truth_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "field", lambda _: {"type": "boolean"})
    findings = judgement.judged(read("spec: {kubelet: {podPidsLimit: no}}"))
    assert not isinstance(findings, Cluster)
    words = {finding.path: (finding.message, finding.remedy) for finding in findings}
    path = ("spec", "kubelet", "podPidsLimit")
    assert words[path] == ("a text can't stand here", "write true or false, without quotes")


def test_words_for_what_we_have_no_words_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement, "_MESSAGES", {})
    findings = judgement.judged(read("apiVersion: kharden.dev/v2"))
    assert not isinstance(findings, Cluster)
    assert findings[0] == Finding(("apiVersion",), "this value can't be used here", "write kharden.dev/v1")
