from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playbooks.module_utils.kharden import changes
else:
    from ansible.module_utils.kharden import changes


def side(content: bytes | None, *, kind: str = "file", **values: str) -> changes.Side:
    return changes.Side(kind, "root", "root", "0600", content=content, **values)


def update(before: changes.Side | None, after: changes.Side | None, *, sensitive: bool = False) -> changes.Change:
    return changes.Change("/etc/a", "update", before, after, (), sensitive)


def test_texts_differ_line_by_line() -> None:
    text = changes.difference(update(side(b"a\nb\nc\n"), side(b"a\nB\nc\n")))
    assert text == "--- /etc/a\n+++ /etc/a\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c"


def test_a_missing_last_line_end_is_a_difference() -> None:
    assert "+\\ No newline at end of file" in changes.difference(update(side(b"a\n"), side(b"a")))


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"a\0b", b"\x1b[2J", "a\u202eb".encode(), b"a\rb", b"x" * (changes.LONGEST_TEXT + 1)]
)
def test_what_is_no_plain_text_is_shown_as_digests(content: bytes) -> None:
    text = changes.difference(update(side(b"a\n"), side(content)))
    assert text.startswith("sha256:")
    assert text.count("sha256:") == 2


def test_sensitive_content_has_neither_text_nor_digest() -> None:
    text = changes.prepared(update(side(b"old"), side(b"new", digest="ab" * 32), sensitive=True))
    assert changes.HIDDEN in text
    assert "ab" * 32 not in text
    assert "new" not in text


def test_a_link_is_shown_by_its_target() -> None:
    text = changes.difference(update(side(b"a\n"), side(None, kind="symlink", target="/dev/null\x1b")))
    assert "-a" in text
    assert "'/dev/null\\x1b'" in text


def test_what_appears_or_goes_is_compared_with_nothing() -> None:
    assert changes.difference(update(None, side(b"a\n"))).startswith("--- /dev/null\n+++ /etc/a\n")
    assert changes.difference(update(side(b"a\n"), None)).startswith("--- /etc/a\n+++ /dev/null\n")


def test_a_representation_never_holds_content() -> None:
    assert "canary" not in repr(update(side(b"canary"), None))
