"""The firewall in force, as nft lists it in its own JSON (libnftables-json(5))."""

from __future__ import annotations

import json
import subprocess
from typing import Any

_SECONDS = 60


def rules(table: str) -> dict[str, Any]:
    """Every table's family and name, and of one of the family inet the chains and rules as nft has them."""
    tables = [each["table"] for each in _listed("tables") if "table" in each]
    names = [f"{each['family']} {each['name']}" for each in tables]
    found = _listed("table", "inet", table) if f"inet {table}" in names else []
    return {
        "tables": names,
        "chains": [each["chain"] for each in found if "chain" in each],
        "rules": [each["rule"] for each in found if "rule" in each],
    }


def _listed(*what: str) -> list[dict[str, Any]]:
    command = ["nft", "--json", "--stateless", "list", *what]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    items: list[dict[str, Any]] = json.loads(shown)["nftables"]
    return items
