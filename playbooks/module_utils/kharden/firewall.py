# SPDX-License-Identifier: Apache-2.0
"""The firewall in force against the file that says what it shall be.

Rules that were changed by hand leave the unit that loaded them active, so they are compared on every run. nftables has
no canonical text: the file is loaded in a network namespace of its own, which nothing is connected to, and what the
kernel then lists is held against what it lists here. Nothing of the node is changed by that.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from .errors import NodeError
from .units import run

UNIT = "kharden-firewall.service"
RULES = "/etc/nftables.d/kharden.nft"
# The script is fixed; the file's name comes as its argument.
LIST = ("nft", "--stateless", "list", "table", "inet", "kharden")
_ELSEWHERE = ("unshare", "--net", "sh", "-c", f'nft --file "$1" && exec {" ".join(LIST)}', "sh")
_SECONDS = 60


def difference(rules: str = RULES) -> str:
    """How the table in force differs from what the file says, as a diff; empty where there is no file yet.

    Raises:
        NodeError: the file isn't one that nftables takes.
    """
    if not Path(rules).is_file():
        return ""
    status, wanted = run([*_ELSEWHERE, rules], _SECONDS)
    if status:
        raise NodeError(f"{rules}: nft doesn't take it ({' '.join(wanted.split())[:200]}): apply the files again")
    status, found = run(LIST, _SECONDS)
    before = [] if status else found.splitlines()
    return "\n".join(difflib.unified_diff(before, wanted.splitlines(), "in force", rules, lineterm="", n=1))
