"""What isn't YAML at all, in our words: PyYAML's own differ between libyaml and Python, and may quote the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.spec.problems import Finding, Place, end

if TYPE_CHECKING:
    from collections.abc import Sequence

    import yaml

_INDENT = "indent with spaces, the keys of one section all alike"
_CLOSE = "put a comma between entries and close each bracket and brace"

# Of a quote without end, whose place is where it begins.
_ENDLESS = "found unexpected"

# A part of libyaml's or PyYAML's own text → message and remedy. The first that fits is taken; `_OTHER` is for the rest.
_WORDS: Sequence[tuple[str, str, str]] = (
    ("mapping values are not allowed", "a colon makes this a key, where none can be", f"quote the text, or {_INDENT}"),
    ("cannot start any token", "a text can't begin with this character", "quote the text"),
    (_ENDLESS, "a quote is opened here and never closed", "close it, or look for one quote too many further up"),
    ("',' or", "a list or section in brackets isn't closed", _CLOSE),
    ("expected node content", "a value is missing here", _CLOSE),
    ("expected the node content", "a value is missing here", _CLOSE),
    ("entries are not allowed", "a list can't begin here", "begin each item with - on a line of its own"),
    ("expected '-' indicator", "this isn't an item of the list above", "begin each item with -, all at one column"),
    ("expected key", "this line doesn't fit the lines above it", _INDENT),
    ("expected <block end>", "this line doesn't fit the lines above it", _INDENT),
    ("expected ':'", "there is no colon after this key", "write the key, a colon and a space"),
    ("escape", "this escape isn't one of YAML's", "use single quotes, in which \\ is an ordinary character"),
    ("hexdecimal", "this escape isn't one of YAML's", "use single quotes, in which \\ is an ordinary character"),
    ("tag", "tags (!) are refused", "remove it, or quote a text that begins with !"),
    ("alias", "aliases (*) and anchors (&) are refused", "quote a text that begins with * or &"),
    ("anchor", "aliases (*) and anchors (&) are refused", "quote a text that begins with * or &"),
    ("directive", "directives (%) are refused", "remove the line, or quote a text that begins with %"),
    ("incompatible YAML document", "directives (%) are refused", "remove the line"),
    ("document start", "something is left over here", f"quote the text, or {_INDENT}"),
)
_OTHER = ("this can't be read as YAML", "look at the quotes, brackets and indentation around it")
_TAB = ("a tab can't indent", "indent with spaces")


def explained(error: yaml.YAMLError, text: str) -> Finding:
    """The finding of an error that reading `text` gave."""
    marks = [getattr(error, "problem_mark", None), getattr(error, "context_mark", None)]
    if _ENDLESS in (getattr(error, "problem", None) or ""):
        marks.reverse()
    mark = marks[0] or marks[1]
    place = min(Place(mark.line + 1, mark.column + 1), end(text)) if mark else Place(1, 1)
    message, remedy = _words(error)
    if text.split("\n")[place.line - 1][place.column - 1 :].startswith("\t"):
        message, remedy = _TAB
    return Finding((), message, remedy, place)


def _words(error: yaml.YAMLError) -> tuple[str, str]:
    # The problem says more than its context, which may be only "while parsing a node".
    for said in (getattr(error, "problem", None) or "", getattr(error, "context", None) or ""):
        for part, message, remedy in _WORDS:
            if part in said:
                return message, remedy
    return _OTHER
