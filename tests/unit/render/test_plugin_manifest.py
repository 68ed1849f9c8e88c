"""What `validate` says of a network plugin's manifest."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kharden.render.plugin_manifest import examined
from kharden.spec.problems import SpecError
from playbooks.module_utils.kharden.api_objects import holds_values

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"
SECRET = "this Secret has values, which would lie in the clear in build/"
LIST = "this is a list of objects"
TAG = "tags (!) are refused"
RETYPED = "not every program reads this as the text that it seems to be"
DEEP = "values are nested more than 200 deep"


def refused(content: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        examined("network.yaml", content.encode(), ())
    assert "canary" not in str(caught.value.details)
    return [f"{one.line}:{one.column} {one.message}" for one in caught.value.problems]


SECRETS = """\
{apiVersion: v1, kind: Secret, metadata: {name: one}, data: {key: Y2FuYXJ5}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: two}}
---
# A key: it is the plugin's.
  apiVersion: v1
  kind: Secret
  metadata: {name: three}
  stringData: {key: canary}
---
{apiVersion: v1, kind: Secret, metadata: {name: four}, type: Opaque}
---
apiVersion: v1
kind: Secret
metadata:
  name: five
  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"data":{"key":"Y2FuYXJ5"}}'}
"""


def test_a_secret_with_values_would_lie_in_the_clear() -> None:
    assert refused(SECRETS) == [f"1:1 {SECRET}", f"6:3 {SECRET}", f"13:1 {SECRET}"]


@pytest.mark.parametrize(
    "secret",
    [
        {},
        {"type": "Opaque", "data": {}, "stringData": None},
        {"data": {"key": "Y2FuYXJ5"}},
        {"stringData": {"key": "canary"}},
        {"data": "canary"},
        {"metadata": {"name": "one", "annotations": None}},
        {"metadata": {"name": "one", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "canary"}}},
        {"kind": "ConfigMap", "data": {"key": "canary"}},
    ],
)
def test_nodes_agree_on_which_secrets_have_values(secret: dict[str, Any]) -> None:
    one = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}} | secret
    if holds_values(one):
        assert refused(json.dumps(one)) == [f"1:1 {SECRET}"]
    else:
        assert examined("network.yaml", json.dumps(one).encode(), ()) == ()


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("kind: Namespace\nkind: [canary\n", "3:1 a list or section in brackets isn't closed"),
        (f"{HEAD}date: 0x_ # canary\n", "1:1 this can't be read as YAML"),
        ("kind: !canary {}\n", f"1:7 {TAG}"),
        ("a: !!bool canary\n", f"1:4 {TAG}"),
        ('a: !!int ""\n', f"1:4 {TAG}"),
        ("a: !!timestamp canary\n", f"1:4 {TAG}"),
        ("a: !!binary Y2FuYXJ5\n", f"1:4 {TAG}"),
        ("a: ! 12\n", f"1:4 {TAG}"),
        ("enum: ['!=', =]\n", f"1:14 {RETYPED}"),
        ("a: 2026-13-45 # canary\n", f"1:4 {RETYPED}"),
        ("a: 10:30\n", f"1:4 {RETYPED}"),
        ("%YAML 1.1\n---\na: 1\n", "1:1 directives (%) are refused"),
        ("a: &a [canary]\nb: *a\n", "2:4 aliases (*) are refused"),
        ("? [canary]\n: 1\n", "1:3 a key is a word, not a list, a section or an alias"),
        ("[" * 200_000, f"1:201 {DEEP}"),
        ("- " * 200_000, f"1:401 {DEEP}"),
        ("kind: Secret\n<<: {data: {key: Y2FuYXJ5}}\ndata: {}\n", "2:1 merge keys (<<) are refused"),
        # The last one wins, and the bytes of the first would lie there all the same.
        (
            "kind: Secret\ndata: {key: Y2FuYXJ5}\n'data': {}\n",
            "3:1 this key is here twice, first in line 2, column 1",
        ),
        (
            f"{HEAD}data:\n  a: {{b: [{{c: 1, d: 2, c: 3}}]}}\n",
            "5:24 this key is here twice, first in line 5, column 12",
        ),
    ],
)
def test_what_isnt_read_alike_is_refused_here_and_not_on_a_node(content: str, where: str) -> None:
    assert refused(content) == [where]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("apiVersion: v1\nkind: List\nitems: []\n", LIST),
        ("{apiVersion: v1, kind: List, metadata: {name: canary}}", LIST),
        ("{apiVersion: v1, kind: SecretList, items: [{metadata: {name: one}, data: {key: Y2FuYXJ5}}]}", LIST),
        (
            "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List, items: [{kind: Secret, data: {}}]}]}",
            LIST,
        ),
        ("{apiVersion: v1, kind: Pod}", "this isn't an object of the API: it has no metadata.name"),
        ("{apiVersion: v1, kind: Pod, metadata: canary}", "this isn't an object of the API: it has no metadata.name"),
        ("{kind: 1, metadata: {name: one}}", "this isn't an object of the API: it has no apiVersion and no kind"),
        ("- canary", "this isn't an object of the API: it has no apiVersion and no kind and no metadata.name"),
        ("canary", "this isn't an object of the API: it has no apiVersion and no kind and no metadata.name"),
        ("{}", "this isn't an object of the API: it has no apiVersion and no kind and no metadata.name"),
        ("{apiVersion: v1, kind: Node, metadata: {name: canary}}", "kharden itself marks nodes"),
    ],
)
def test_what_is_no_object_is_refused_here_and_not_on_a_node(content: str, what: str) -> None:
    assert refused(f"---\n{HEAD}---\n\n{content}\n") == [f"7:1 {what}"]


def test_empty_documents_are_nothing() -> None:
    assert examined("network.yaml", f"---\n# nothing\n---\n{HEAD}---\nnull\n---\n...\n---\n".encode(), ()) == ()
    assert examined("network.yaml", b"", ()) == ()


@pytest.mark.parametrize(
    "value", ["1", "0x1f", "1.5", "true", "null", "''", "'='", "'!='", "'10:30'", "10.0.0.0/8", "a:b"]
)
def test_what_everybody_reads_alike_is_taken(value: str) -> None:
    assert examined("network.yaml", f"{HEAD}data: [{value}, {value}]\n".encode(), ()) == ()


PIECES = [*"\n\r\t :-?[]{}|>,'\"&*!%@`#=<~.0_x\\\x00\x85\u2028\ufeffé", "\n  ", "- ", ": ", "--- ", "\n---\n", "...\n"]
PIECES += ["!!bool ", "!!int ", "!!timestamp ", "!!set ", "!<tag:a> ", "<<: ", "&a ", "*a", "%YAML 1.1\n", "%TAG ! b\n"]
PIECES += [
    "2026-13-45",
    "1:90",
    "0b_",
    "1e999",
    ".inf",
    "yes",
    "null",
    "kind: Secret",
    "items: ",
    "data: ",
    "metadata: ",
]
PIECES += [HEAD, "{", "}", "spec: {hostNetwork: true, containers: [{ports: [{containerPort: 1}]}]}"]


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join), st.binary()))
def test_whatever_the_text_it_is_taken_or_refused(content: str | bytes) -> None:
    given_bytes = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    with suppress(SpecError):
        examined("network.yaml", given_bytes, ())


DAEMON = """\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: one}
spec:
  template:
    spec:
      hostNetwork: HOST
      containers:
        - ports: [{containerPort: 4240}, {containerPort: 8472, protocol: UDP}, {name: none}]
        - {name: other}
"""
CLOSED = "these ports of a workload on the nodes' own network are dropped by their firewall"


def test_closed_ports_of_workloads_on_the_nodes_network_are_named() -> None:
    daemon = DAEMON.replace("HOST", "true").encode()
    (warning,) = examined("network.yaml", daemon, ())
    assert (warning.line, warning.message) == (1, f"{CLOSED}: 4240/TCP, 8472/UDP")
    (warning,) = examined("network.yaml", daemon, {("udp", 8472)})
    assert warning.message.endswith(": 4240/TCP")
    assert examined("network.yaml", daemon, {("udp", 8472), ("tcp", 4240)}) == ()
    assert examined("network.yaml", DAEMON.replace("HOST", "false").encode(), ()) == ()
    odd = f"{HEAD.replace('ConfigMap', 'Pod')}spec: {{hostNetwork: true, containers: text}}\n"
    assert examined("network.yaml", odd.encode(), ()) == ()


POD = {"hostNetwork": True, "containers": [{"ports": [{"containerPort": 9100}]}]}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Pod", POD),
        ("Job", {"template": {"spec": POD}}),
        ("CronJob", {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": POD}}}}),
    ],
)
def test_ports_are_found_wherever_a_kind_has_its_pods(kind: str, spec: dict[str, Any]) -> None:
    one = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "one"}, "spec": spec}
    (warning,) = examined("network.yaml", json.dumps(one).encode(), ())
    assert warning.message == f"{CLOSED}: 9100/TCP"
