"""What the API has of nodes and namespaces, held against the plan."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kharden.observe import bounds
from kharden.observe.model import Finding
from kharden.observe.scratch import DENIED, POLICY_TARGETS
from kharden.plan.objects import OBJECT_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import (
        BoundsEnforced,
        NamespaceLevels,
        NamespaceObjects,
        NodeMarks,
        PoliciesEnforced,
    )
    from kharden.observe.examine.view import View
    from kharden.plan.objects import FlowPlan, NamespacePlan

_DNS_PORTS = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
# What the API server fills in where a policy says nothing.
_ANY_POD: dict[str, Any] = {"podSelector": {}}
_BY_QUOTA = "exceeded quota"


def marks(_: NodeMarks, view: View) -> Iterator[Finding]:
    """Every planned label and taint is there."""
    facts = view.cluster.at("nodes", view.node.name)
    labels = {key: value.text() for key, value in facts.at("labels").table().items()}
    for key, wanted in view.node.labels:
        yield Finding(
            f"label {key}={wanted}", f"{key}={labels[key]}" if key in labels else "none", labels.get(key) == wanted
        )
    taints = [entry.texts() for entry in facts.at("taints").entries()]
    for taint in view.node.taints:
        # One key and effect has one value.
        same = [found[1:2] for found in taints if found[:1] == [taint.key] and found[2:] == [taint.effect]]
        seen = f"{taint.key}={''.join(same[0])}:{taint.effect}" if same else "none"
        yield Finding(f"taint {taint}", seen, same == [[taint.value]])


def levels(_: NamespaceLevels, view: View) -> Iterator[Finding]:
    """Each namespace is there with its labels."""
    found = view.cluster.at("namespace_labels").table()
    for namespace in view.plan.namespaces:
        if namespace.name not in found:
            yield Finding(f"namespace {namespace.name}", "there is none", ok=False)
            continue
        labels = {key: value.text() for key, value in found[namespace.name].table().items()}
        for mode, version in (("enforce", f"v{view.plan.minor}"), ("warn", "latest"), ("audit", "latest")):
            key = f"pod-security.kubernetes.io/{mode}"
            seen = (labels.get(key, "none"), labels.get(f"{key}-version", "none"))
            expected = f"namespace {namespace.name}: {mode} {namespace.pod_security}, {version}"
            yield Finding(expected, ", ".join(seen), seen == (namespace.pod_security, version))


def present(check: NamespaceObjects, view: View) -> Iterator[Finding]:
    """Each object of the plan is there and says what it shall."""
    found = view.cluster.at("specs", check.path).table()
    for namespace in view.plan.namespaces:
        for name, spec in _specs(check.kind, namespace).items():
            where = f"{namespace.name}/{name}"
            expected = f"{check.kind} {where}: {_said(spec)}"
            if where not in found:
                yield Finding(expected, "there is none", ok=False)
            else:
                seen = found[where].seen()
                yield Finding(expected, _said(seen), _said(seen) == _said(spec))


def _said(spec: object) -> str:
    return json.dumps(spec, sort_keys=True)


def _specs(kind: str, namespace: NamespacePlan) -> dict[str, Any]:
    """Name → what the API gives back of each object that the plan asks for."""
    if kind == "NetworkPolicy":
        return _policies(namespace) if namespace.default_deny else {}
    if kind == "ResourceQuota":
        return {OBJECT_NAME: {"hard": dict(namespace.quota)}} if namespace.quota else {}
    limits = namespace.limits
    if limits is None:
        return {}
    item = {"default": dict(limits.default), "defaultRequest": dict(limits.request), "max": dict(limits.largest)}
    return {OBJECT_NAME: {"limits": [{"type": "Container"} | item]}}


def _policies(namespace: NamespacePlan) -> dict[str, Any]:
    dns = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    return {
        "default-deny": _ANY_POD | {"policyTypes": ["Ingress", "Egress"]},
        "allow-dns": _ANY_POD | {"policyTypes": ["Egress"], "egress": [{"to": [dns], "ports": _DNS_PORTS}]},
    } | {flow.name: _flow(flow) for flow in namespace.flows}


def _flow(flow: FlowPlan) -> dict[str, Any]:
    peers: list[dict[str, Any]] = []
    if flow.namespaces:
        names = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(flow.namespaces)}
        peers.append({"namespaceSelector": {"matchExpressions": [names]}})
    for block in flow.blocks:
        left_out = {"except": [str(one) for one in block.exceptions]} if block.exceptions else {}
        peers.append({"ipBlock": {"cidr": str(block.network)} | left_out})
    rule = {
        "from" if flow.direction == "ingress" else "to": peers,
        "ports": [{"protocol": protocol, "port": port} for protocol, port in flow.ports],
    }
    return _ANY_POD | {"policyTypes": [flow.direction.capitalize()], flow.direction: [rule]}


def bounds_enforced(_: BoundsEnforced, view: View) -> Iterator[Finding]:
    """Too much is refused by the quota, and what isn't said is filled in."""
    for namespace in bounds.bounded(view.plan):
        greedy = view.facts.at("cluster", "trials", bounds.title(bounds.GREEDY, namespace))
        refused, said = not greedy.at("admitted").flag(), greedy.at("message").text()
        yield Finding(
            f"{bounds.title(bounds.GREEDY, namespace)} is refused by it",
            said if refused else "admitted",
            refused and _BY_QUOTA in said,
        )
        yield _filled_in(namespace, view)


def _filled_in(namespace: NamespacePlan, view: View) -> Finding:
    limits = namespace.limits
    silent = view.facts.at("cluster", "trials", bounds.title(bounds.SILENT, namespace))
    wanted = {"limits": dict(limits.default), "requests": dict(limits.request)} if limits else {}
    expected = f"{bounds.title(bounds.SILENT, namespace)} gets {_said(wanted)}"
    if silent.at("admitted").flag():
        seen = silent.at("resources").seen()
        return Finding(expected, _said(seen), _said(seen) == _said(wanted))
    message = silent.at("message").text()
    # A namespace that is full by now admits no pod that would show it; the quota that says so is the one that bounds.
    full = _BY_QUOTA in message
    return Finding(expected, message, None if full else False, left_out=full)


def policies_enforced(_: PoliciesEnforced, view: View) -> Iterator[Finding]:
    """What is denied can't be reached; that DNS is shows that the pod reaches anything at all."""
    asker = view.witnesses.speakers[0]
    answers = view.snapshot.facts(asker.name).at("policies")
    for target in POLICY_TARGETS:
        seen = answers.at(target, "outcome").text()
        if target != DENIED:
            yield Finding(f"{target}: connected", seen, seen == "connected")
        elif seen == "connected" and view.plan.network.routed:
            reason = f"{seen}: spec.network.plugin has no enforcement, so nothing keeps pods apart"
            yield Finding(f"{target}: no answer", reason, ok=None, chosen=True)
        else:
            yield Finding(f"{target}: no answer", seen, seen == "no answer")
