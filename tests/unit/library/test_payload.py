from __future__ import annotations

import base64
import gzip
import json
import posixpath
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .conftest import Node, pack, snapshot

if TYPE_CHECKING:
    from playbooks.module_utils.kharden import files, payload, record, survey
    from playbooks.module_utils.kharden.errors import NodeError
else:
    from ansible.module_utils.kharden import files, payload, record, survey
    from ansible.module_utils.kharden.errors import NodeError

VALID: dict[str, Any] = {
    "path": "/etc/a",
    "kind": "file",
    "owner": "root",
    "group": "0",
    "mode": "0600",
    "content": "YQ==",
}


def refused(*items: object, **others: object) -> list[str]:
    with pytest.raises(payload.PayloadError) as caught:
        payload.decode(pack(list(items), **others))  # type: ignore[arg-type]  # wrong forms are the point
    problems = caught.value.details["problems"]
    assert isinstance(problems, list)
    return problems


def packed(content: bytes) -> bytes:
    """The same at any time: what tests are named after must be alike in all processes that share them."""
    return gzip.compress(content, mtime=0)


def as_text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    "path",
    [
        "etc/a",
        "/etc/../a",
        "/etc/./a",
        "//etc/a",
        "/etc//a",
        "/etc/a/",
        "/",
        "",
        "/..",
        "/etc/a\nb",
        "/etc/a\0b",
        "/etc/\x1b[2J",
        "/etc/" + "n" * 250,
        "/n" * 2100,
        "/etc/.a.kharden-new",
        "/etc/\ud800",
        None,
        7,
        ["/etc/a"],
    ],
)
def test_a_path_that_is_not_plain_is_refused(path: object) -> None:
    (problem,) = refused(VALID | {"path": path})
    assert problem.startswith("files[0]: its path ")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mode": "600"}, "mode"),
        ({"mode": 600}, "mode"),
        ({"mode": "0888"}, "mode"),
        ({"owner": "ro ot"}, "owner"),
        ({"owner": 0}, "owner"),
        ({"group": "-x"}, "group"),
        ({"kind": "fifo"}, "kind"),
        ({"kind": []}, "kind"),
        ({"sha256": "0" * 64}, "digest"),
        ({"sha256": "A" * 64}, "sha256"),
        ({"sha256": "../../x"}, "sha256"),
        ({"size": 2}, "size"),
        ({"size": -1}, "size"),
        ({"size": True}, "size"),
        ({"content": "%%%"}, "base64"),
        ({"content": 5}, "base64"),
        ({"target": "x"}, "target"),
        ({"sensitive": "yes"}, "sensitive"),
        ({"sensitive": True, "mode": "0604"}, "everybody"),
        ({"restarts": "sysctl"}, "restarts"),
        ({"restarts": ["rm -rf"]}, "restarts"),
        ({"restarts": ["--force.service"]}, "restarts"),
        ({"restarts": ["static-pod/../x"]}, "restarts"),
        ({"restarts": ["kubelet"]}, "restarts"),
        ({"validate": ["sshd", "%s"]}, "validate"),
        ({"validate": ["/usr/sbin/sshd"]}, "validate"),
        ({"validate": "x"}, "validate"),
        ({"backup": True}, "unknown key 'backup'"),
    ],
)
def test_a_value_of_another_form_is_refused_by_name(values: dict[str, object], said: str) -> None:
    assert any(problem.startswith("/etc/a: ") and said in problem for problem in refused(VALID | values))


def test_each_kind_has_what_it_needs_and_no_more() -> None:
    base = {"owner": "root", "group": "root", "mode": "0755"}
    problems = refused(
        base | {"path": "/a", "kind": "file"},
        base | {"path": "/b", "kind": "symlink"},
        base | {"path": "/c", "kind": "directory", "content": "", "target": "x"},
        {"path": "/d", "kind": "directory", "owner": "root", "group": "root"},
    )
    assert [problem.partition(":")[0] for problem in problems] == ["/a", "/b", "/c", "/c", "/d"]


def test_a_path_twice_and_a_path_below_a_file_are_refused() -> None:
    problems = refused(VALID, VALID, VALID | {"path": "/etc/a/b"})
    assert problems == ["/etc/a: is listed twice", "/etc/a/b: lies below /etc/a, which is listed as a file"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "%",
        "YQ==",
        as_text(packed(b"{")),
        as_text(packed(b"[" * 100_000)),
        as_text(packed(b'{"schema": 1, "files": []}')[:-4]),
        as_text(packed(b'{"schema": 1, "files": []}') + b"tail"),
        as_text(packed(b'{"schema": 2, "files": []}')),
        as_text(packed(b'{"schema": 1, "files": {}}')),
        as_text(packed(b'{"schema": 1, "files": [], "more": 1}')),
    ],
)
def test_what_is_no_payload_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(payload.PayloadError, match="nothing was changed") as caught:
        payload.decode(text)
    assert "\n" not in caught.value.message


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload, "LONGEST", 1000)
    with pytest.raises(payload.PayloadError, match="longer than 1000"):
        payload.decode(as_text(packed(b" " * 100_000)))


def test_no_message_and_no_repr_holds_content() -> None:
    secret = base64.b64encode(b"canary-9d").decode()
    problems = refused(VALID | {"content": secret, "sha256": "0" * 64, "sensitive": True})
    assert not any("canary" in problem or secret in problem for problem in problems)
    (entry,) = payload.decode(pack([VALID | {"content": secret}]))
    assert "canary" not in repr(entry)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.lists(
        st.fixed_dictionaries({}, optional=dict.fromkeys((*VALID, "target", "restarts", "validate"), JSON)) | JSON,
        max_size=3,
    )
)
def test_any_json_is_either_a_payload_or_refused(items: list[object]) -> None:
    try:
        payload.decode(as_text(packed(json.dumps({"schema": 1, "files": items}).encode())))
    except payload.PayloadError as error:
        assert error.details["problems"]  # noqa: PT017 - either way is right; which one depends on the example


PIECES = st.sampled_from(["etc", "..", ".", "", "a", "b.conf", "\0", "ü", "x y", "-f", "%s", "{{ 1 }}", "$(id)"])


@given(st.lists(PIECES, min_size=1, max_size=5).map("/".join))
def test_an_accepted_path_means_itself_and_nothing_else(path: str) -> None:
    if not payload.path_problem(path):
        assert posixpath.normpath(path) == path
        assert path.startswith("/")
        assert ".." not in path.split("/")
        assert all(above.startswith("/") and path.startswith(f"{above}/") for above in payload.parents(path))


@settings(max_examples=40)
@given(st.lists(st.lists(PIECES, min_size=1, max_size=4).map("/".join), min_size=1, max_size=4))
def test_whatever_the_paths_nothing_outside_is_seen_to_change(paths: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        node = Node(Path(folder).resolve())
        node.put("/../outside", "o")
        before = snapshot(node.root.parent)
        try:
            entries = payload.decode(pack([node.file(f"/{path}", "c") for path in paths]))
        except payload.PayloadError:
            return
        found = survey.survey(entries, survey.Circumstances({}, str(node.staging), plan=False))
        assert all(step.change.path.startswith(f"{node.root}/") for step in found.steps)
        assert snapshot(node.root.parent) == before


def test_the_record_is_read_as_strictly_as_a_payload(node: Node) -> None:
    good = {"kind": "file", "owner": "root", "group": "root", "mode": "0600", "sha256": "0" * 64}
    node.state.mkdir()
    for path, item in (
        ("/etc/a", good | {"restarts": ["; reboot"]}),
        ("/etc/a", good | {"more": 1}),
        ("/etc/a", {"kind": "file"}),
        ("/etc/a", good | {"made": "yes"}),
        ("/etc/../a", good),
        ("/etc/a", []),
    ):
        node.record.write_text(json.dumps({"schema": 1, "placed": {path: item}}))
        with pytest.raises(NodeError, match="damaged"):
            record.load(str(node.record))
    node.record.write_text(json.dumps({"schema": 1, "placed": {"/etc/a": good}}))
    assert record.load(str(node.record))["/etc/a"].sha256 == "0" * 64


def test_a_symlink_slipped_in_as_a_parent_is_refused_by_every_operation(node: Node) -> None:
    outside = node.root.parent / "outside"
    outside.mkdir()
    (outside / "x").write_text("kept")
    node.path("/in").symlink_to(outside)
    path = f"{node.root}/in/x"
    for operation in (files.look, files.digest, files.remove, files.discard, files.commit, files.remove_folder):
        with pytest.raises(NodeError, match="symbolic link"):
            operation(path)
    assert (outside / "x").read_text() == "kept"
