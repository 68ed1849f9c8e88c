"""The lab's own record, `lab.json` in its state folder: what it was brought up as."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from kharden.errors import IntegrityError
from kharden.lab.model import Lab, LabNode
from kharden.lab.places import state_folder, state_root
from kharden.securefile import write_if_changed

if TYPE_CHECKING:
    from kharden.lab.model import Suite

_NAME = "lab.json"


def write_record(lab: Lab) -> None:
    """Record the lab."""
    content = {
        "schema": 3,
        "name": lab.name,
        **_both("subnet", "secondSubnet", lab.subnets),
        "nodes": {
            node.name: {
                **_both("address", "secondAddress", node.addresses),
                "user": node.user,
                "port": node.port,
                "sudo": node.sudo,
                "suite": node.suite,
            }
            for node in lab.nodes
        },
    }
    write_if_changed(state_folder(lab.name) / _NAME, json.dumps(content, indent=2).encode() + b"\n")


def read_record(lab_name: str) -> Lab | None:
    """The lab as recorded; None where there is none of that name.

    Raises:
        IntegrityError: the record can't be read.
    """
    path = state_folder(lab_name) / _NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        nodes = tuple(_node(name, node, content.get("suite")) for name, node in content["nodes"].items())
        second = content.get("secondSubnet")
        return Lab(
            content["name"],
            ip_network(content["subnet"]),
            nodes,
            second_subnet=ip_network(second) if second else None,
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError(f"{path}: this record is damaged", remedy="take the lab down and up again") from None


def _both(first: str, second: str, values: tuple[object, ...]) -> dict[str, str]:
    return {key: str(value) for key, value in zip((first, second), values, strict=False)}


def _node(name: str, node: dict[str, Any], common: Suite) -> LabNode:
    """A node of a record; one of schema 2 has a release that is `common` to all."""
    second = node.get("secondAddress")
    return LabNode(
        name,
        ip_address(node["address"]),
        node["user"],
        node["port"],
        sudo=node["sudo"],
        suite=node.get("suite", common),
        second_address=ip_address(second) if second else None,
    )


def recorded_names() -> tuple[str, ...]:
    """The names of all labs of this user, up or not."""
    return tuple(sorted(path.parent.name for path in state_root().glob(f"*/{_NAME}")))
