"""Templates are text with holes: what decides is the plan."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import jinja2
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import nodes

from kharden.render import text
from kharden.render.text import TemplateError, render, to_yaml
from kharden.resources import folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPLATES = folder("templates")
NAMES = sorted(str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.j2"))
YAML_OR_TOML = (".yaml.j2", ".conflist.j2", ".toml.j2", "kubeconfig.j2")
# Holes that hold no text of a person's: numbers, one of two words, a whole document, a comment of ours, an indentation.
PLAIN_HOLES = {
    ("cluster/namespaces.yaml.j2", "namespace.reason"),
    ("etc/kharden/api/encryption.yaml.j2", "provider"),
    ("etc/kharden/kubeadm/init.yaml.j2", "kubelet_configuration"),
    ("etc/kharden/kubeadm/init.yaml.j2", "indent"),
    ("etc/kharden/kubeadm/patches/etcd+strategic.yaml.j2", "etcd_uid"),
}

PLAIN_NODES = (
    *(nodes.Template, nodes.TemplateData, nodes.Output, nodes.Name, nodes.Getattr, nodes.Const),
    *(nodes.Filter, nodes.For, nodes.If, nodes.Macro, nodes.Call),
)

# All that can come out of a file in UTF-8.
characters = st.characters(exclude_categories=["Cs"])
awkward = st.sampled_from(
    ["\x85", "\u2028", "\x7f", "\ufeff", "{{ 7*7 }}", "'", '"', "\\", ": ", " #", "- ", "\n---\n"]
)
texts = st.lists(st.text(characters, max_size=20) | awkward, max_size=5).map("".join)
values = st.recursive(
    texts | st.integers(-(2**53), 2**53) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts.filter(bool), inner, max_size=4),
    max_leaves=10,
)


# --- values


@given(values)
def test_a_value_comes_back_out_of_yaml_as_it_was(value: object) -> None:
    written = to_yaml(value)
    assert "\n" not in written
    assert yaml.load(f"before: 1\nkey: {written}\nafter: 2\n", yaml.CSafeLoader) == {
        "before": 1,
        "key": value,
        "after": 2,
    }


@given(texts)
def test_a_text_comes_back_out_of_toml_as_it_was(value: str) -> None:
    assert tomllib.loads(f"key = {to_yaml(value)}\nafter = 2\n") == {"key": value, "after": 2}


# --- templates


def parsed(template: str) -> nodes.Template:
    environment = jinja2.Environment(autoescape=False)  # noqa: S701  # nothing is rendered with it
    return environment.parse((TEMPLATES / template).read_text(encoding="utf-8"))


def test_there_are_templates() -> None:
    assert len(NAMES) > 15


@pytest.mark.parametrize("template", NAMES)
def test_a_template_decides_nothing(template: str) -> None:
    tree = parsed(template)
    macros = {macro.name for macro in tree.find_all(nodes.Macro)}
    for node in tree.find_all(nodes.Node):
        # No comparison, no arithmetic, no test, no default(), no set, no include: none of these is in the list.
        assert isinstance(node, PLAIN_NODES), node
        if isinstance(node, nodes.Filter):
            assert (node.name, node.args, node.kwargs) == ("to_yaml", [], []), node
        if isinstance(node, nodes.If):
            assert isinstance(node.test, nodes.Name), node
        if isinstance(node, nodes.For):
            assert isinstance(node.iter, nodes.Name), node
            assert node.test is None
        if isinstance(node, nodes.Call):
            assert isinstance(node.node, nodes.Name), node
            assert node.node.name in macros


@pytest.mark.parametrize("template", [name for name in NAMES if name.endswith(YAML_OR_TOML)])
def test_every_hole_of_yaml_and_toml_goes_through_the_filter(template: str) -> None:
    for output in parsed(template).find_all(nodes.Output):
        for hole in output.nodes:
            if not isinstance(hole, nodes.TemplateData | nodes.Filter | nodes.Call):
                assert (template, dotted(hole)) in PLAIN_HOLES


def dotted(hole: nodes.Node) -> str:
    if isinstance(hole, nodes.Getattr):
        return f"{dotted(hole.node)}.{hole.attr}"
    assert isinstance(hole, nodes.Name)
    return hole.name


# --- the environment


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of templates of a test's own."""
    monkeypatch.setattr(text, "folder", lambda _name: tmp_path)
    text._environment.cache_clear()  # noqa: SLF001  # templates/ is found once in a process
    yield tmp_path
    text._environment.cache_clear()  # noqa: SLF001  # as above


def refused(templates: Path, name: str, template: str, **given: object) -> str:
    (templates / f"{name}.j2").write_text(template, encoding="utf-8")
    with pytest.raises(TemplateError) as caught:
        render(name, given)
    message = str(caught.value)
    assert message.startswith(f"templates/{name}.j2: ")
    assert "\n" not in message
    return message


def test_holes_are_filled(templates: Path) -> None:
    (templates / "it.yaml.j2").write_text(
        "a: {{ a | to_yaml }}\n{% for b in bs %}\n- {{ b }}\n{% endfor %}\n".replace("- ", "# ")
    )
    assert render("it.yaml", {"a": [1, "x: y"], "bs": ["one", "two"]}) == b'a: [1, "x: y"]\n# one\n# two\n'


@pytest.mark.parametrize(
    "template", ["{{ nothing }}", "{{ nothing.below }}", "{% if nothing %}{% endif %}", "{{ a.b }}"]
)
def test_a_hole_without_a_value_is_an_error(templates: Path, template: str) -> None:
    assert re.search("is undefined|has no attribute", refused(templates, "it.conf", template, a={}))


def test_a_template_that_can_not_be_read_is_an_error(templates: Path) -> None:
    assert "expected token" in refused(templates, "it.conf", "{{ a b }}", a=1)
    with pytest.raises(TemplateError, match=r"templates/none\.conf\.j2"):
        render("none.conf", {})


@pytest.mark.parametrize(
    "template",
    [
        "a: 1\nb: 2\na: 3\n",
        "a: {b: 1, b: 2}\n",
        "- {c: 1}\n- {c: 1, c: 1}\n",
        "a: 1\n---\nb: 1\nb: 1\n",
        "1: a\n1: b\n",
    ],
)
def test_a_key_that_stands_twice_is_an_error(templates: Path, template: str) -> None:
    assert "duplicate key" in refused(templates, "it.yaml", template)
    assert "duplicate key" in refused(templates, "it.conflist", template)


@pytest.mark.parametrize("template", ["a: [\n", "a: b: c\n", "\ta: 1\n", "a: 1\n---\n"])
def test_what_is_no_document_is_an_error(templates: Path, template: str) -> None:
    refused(templates, "it.yaml", template)


def test_a_file_that_is_not_yaml_is_not_read_as_yaml(templates: Path) -> None:
    (templates / "it.conf.j2").write_text("a: [\na: [\n", encoding="utf-8")
    assert render("it.conf", {}) == b"a: [\na: [\n"
