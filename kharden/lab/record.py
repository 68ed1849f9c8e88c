"""The lab's own record, `lab.json` in its state folder: what it was brought up as."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network

from kharden.errors import IntegrityError
from kharden.lab.model import Lab, LabNode
from kharden.lab.places import state_folder, state_root
from kharden.securefile import write_if_changed

_NAME = "lab.json"


def write_record(lab: Lab) -> None:
    """Record the lab."""
    content = {
        "schema": 2,
        "name": lab.name,
        "subnet": str(lab.subnet),
        "suite": lab.suite,
        "nodes": {
            node.name: {"address": str(node.address), "user": node.user, "port": node.port, "sudo": node.sudo}
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
        nodes = tuple(
            LabNode(name, IPv4Address(node["address"]), node["user"], node["port"], sudo=node["sudo"])
            for name, node in content["nodes"].items()
        )
        return Lab(content["name"], IPv4Network(content["subnet"]), nodes, suite=content["suite"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError(f"{path}: this record is damaged", remedy="take the lab down and up again") from None


def recorded_names() -> tuple[str, ...]:
    """The names of all labs of this user, up or not."""
    return tuple(sorted(path.parent.name for path in state_root().glob(f"*/{_NAME}")))
