"""What a person should know of the manifest of a network plugin, and what can't be taken, before anybody applies it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from kharden.render.plainly import doubtful
from kharden.spec.problems import Finding, Place, Problem, SpecError
from kharden.spec.reader import LOADER
from kharden.spec.syntax import explained

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# A protocol as spec.network.ports writes it, and a port.
Port = tuple[str, int]

# Where the values of a Secret stand, and a copy of them that `kubectl apply` leaves. The same as `holds_values` in
# playbooks/module_utils/kharden/api_objects.py, which runs on nodes; a test holds one against the other.
_VALUES = ("data", "stringData")
_COPY = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class _Object:
    """A document that isn't empty, and where it begins."""

    place: Place
    values: dict[str, Any]


def examined(file: str, content: bytes, opened: Collection[Port]) -> tuple[Problem, ...]:
    """Hold the manifest `file` against what kharden can do with it.

    Returns:
        Warnings: workloads on the node's own network whose ports aren't among those that are `opened`.

    Raises:
        SpecError: it is no YAML that everybody reads alike, its documents aren't objects, or it holds a secret.
    """
    try:
        text = content.decode()
        refused = list(doubtful(text))
        objects = [] if refused else list(_objects(text))
    except UnicodeDecodeError:
        raise SpecError(file, [Problem(file, 1, 1, "", "this file isn't UTF-8", "save it as UTF-8")]) from None
    except yaml.YAMLError as error:
        raise SpecError(file, _problems(file, [explained(error, text)])) from None
    except (ValueError, OverflowError):  # 0x_, say, is a number to PyYAML, and then it is none
        finding = Finding((), "this can't be read as YAML", "look at it with kubectl apply --dry-run=server")
        raise SpecError(file, _problems(file, [finding])) from None
    refused += [finding for one in objects for finding in _refused(one)]
    if refused:
        raise SpecError(file, _problems(file, refused))
    return tuple(_problems(file, [finding for one in objects for finding in _closed(one, opened)]))


def _objects(text: str) -> Iterator[_Object]:
    loader = LOADER(text)
    try:
        while loader.check_node():
            node: Any = loader.get_node()
            document = loader.construct_document(node)
            if document is not None:  # playbooks and kubectl skip empty ones too
                place = Place(node.start_mark.line + 1, node.start_mark.column + 1)
                yield _Object(place, document if isinstance(document, dict) else {})
    finally:
        loader.dispose()


def _refused(one: _Object) -> Iterator[Finding]:
    """What nodes can't take; and what lies in build/ is in the clear."""
    values = one.values
    name = _section(values, "metadata").get("name")
    texts = {"apiVersion": values.get("apiVersion"), "kind": values.get("kind"), "metadata.name": name}
    missing = [key for key, value in texts.items() if not (isinstance(value, str) and value)]
    if "items" in values or values.get("kind") == "List":
        remedy = "write its items as documents, with a line --- before each"
        yield Finding((), "this is a list of objects", remedy, one.place)
    elif missing:
        message = f"this isn't an object of the API: it has no {' and no '.join(missing)}"
        yield Finding((), message, "write what is missing, as text", one.place)
    if values.get("kind") == "Node":
        yield Finding((), "kharden itself marks nodes", "write labels and taints in spec.nodes", one.place)
    notes = _section(_section(values, "metadata"), "annotations")
    if values.get("kind") == "Secret" and (any(values.get(section) for section in _VALUES) or _COPY in notes):
        message = "this Secret has values, which would lie in the clear in build/"
        remedy = f"leave out its data and stringData and the annotation {_COPY}, and fill it in the cluster by kubectl"
        yield Finding((), message, remedy, one.place)


def _closed(one: _Object, opened: Collection[Port]) -> Iterator[Finding]:
    spec = _section(one.values, "spec")
    spec = _section(_section(spec, "jobTemplate"), "spec") or spec  # of a CronJob
    pod = spec if one.values.get("kind") == "Pod" else _section(_section(spec, "template"), "spec")
    closed = sorted(port for port in _ports(pod) if port not in opened)
    if closed and pod.get("hostNetwork") is True:
        listed = ", ".join(f"{number}/{protocol.upper()}" for protocol, number in closed)
        message = f"these ports of a workload on the nodes' own network are dropped by their firewall: {listed}"
        yield Finding((), message, "add those that others shall reach to spec.network.ports", one.place)


def _ports(pod: dict[str, Any]) -> set[Port]:
    containers = [each for key in ("containers", "initContainers") for each in _sections(pod, key)]
    ports = [port for container in containers for port in _sections(container, "ports")]
    return {
        (str(port.get("protocol") or "TCP").lower(), number)
        for port in ports
        if isinstance(number := port.get("containerPort"), int)
    }


def _section(values: dict[str, Any], key: str) -> dict[str, Any]:
    value = values.get(key)
    return value if isinstance(value, dict) else {}


def _sections(values: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = values.get(key)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _problems(file: str, findings: list[Finding]) -> list[Problem]:
    return [
        Problem(file, *(one.place or Place(1, 1)), path="", message=one.message, remedy=one.remedy) for one in findings
    ]
