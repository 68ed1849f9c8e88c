"""Which connection answers which question: made for the collector's request, and found again in its answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kharden.plan.endpoints import API_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import AuditLevel, ForeignNodeRefused, Probe, TlsListener
    from kharden.controls.checks.behaviour import Credential
    from kharden.observe.witnesses import Witnesses
    from kharden.plan.model import NodePlan

_LOOPBACK = "127.0.0.1"
_ETCD_CLIENT = "/etc/kubernetes/pki/etcd/healthcheck-client"
_CREDENTIALS: dict[Credential, tuple[str, ...]] = {
    "none": (),
    # One file for certificate and key.
    "kubelet": ("/var/lib/kubelet/pki/kubelet-client-current.pem",),
    "etcd-client": (f"{_ETCD_CLIENT}.crt", f"{_ETCD_CLIENT}.key"),
}
_WITH: dict[Credential, str] = {
    "none": "without credential",
    "kubelet": "with a certificate of the cluster's CA",
    "etcd-client": "with etcd's client certificate",
}
# A label that only administrators may set on nodes (NodeRestriction keeps this prefix for them).
_RESERVED_LABEL = "node-restriction.kubernetes.io/kharden"
_OPEN_LABEL = "kharden.dev/verify"


@dataclass(frozen=True, slots=True)
class Question:
    """A request to make; `text` says it to a person and is its key."""

    text: str
    host: str
    port: int
    method: str
    path: str
    headers: dict[str, str]
    body: str | None
    credential: tuple[str, ...]
    over_tls: bool

    def asked(self) -> dict[str, Any]:
        """As the collector takes it."""
        fields = asdict(self)
        del fields["text"]
        return {**fields, "credential": list(self.credential)}


def probe_questions(target: NodePlan, check: Probe) -> Iterator[Question]:
    """A probe of a node, at each of its addresses."""
    for host in _hosts(target, check):
        yield _probe_question(host, check)


def _probe_question(host: str, check: Probe) -> Question:
    what = f"GET {check.path} of {_where(host, check.port)} {_WITH[check.credential]}"
    if check.headers:
        what += " and with headers " + ", ".join(name for name, _ in check.headers)
    return Question(
        what if check.over_tls else f"{what}, plain",
        host,
        check.port,
        "GET",
        check.path,
        dict(check.headers),
        None,
        _CREDENTIALS[check.credential],
        check.over_tls,
    )


def askers(witnesses: Witnesses, target: NodePlan, check: Probe) -> tuple[NodePlan, ...]:
    """Who asks a node: itself, and from outside its neighbour in the order of the plan, so that work stays linear.

    A machine of etcd's own has no kubelet's credential. It is asked by a control plane, whom its firewall lets in.
    """
    if check.scope == "loopback" or check.credential == "etcd-client":
        return (target,)
    others = witnesses.others(target)
    if target.kubelet:
        return (target, *[node for node in others if node.kubelet][:1])
    outside = [node for node in others if node.role == "control-plane"][:1]
    return tuple(outside) if check.credential == "kubelet" else (target, *outside)


def asked_by(witnesses: Witnesses, node: NodePlan) -> tuple[NodePlan, ...]:
    """Whom a node may have to ask; `askers` says for which checks it does."""
    others = witnesses.others(node) if node.kubelet else ()
    machines = [one for one in others if not one.kubelet] if node.role == "control-plane" else []
    return (node, *[one for one in others if one.kubelet][-1:], *machines)


def handshake_questions(target: NodePlan, check: TlsListener) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key of a handshake and what the collector takes, for each of the node's addresses."""
    for host in _hosts(target, check):
        yield f"handshake with {_where(host, check.port)}", {"host": host, "port": check.port}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A question with its right status, and text that the answer must hold."""

    question: Question
    status: str
    says: str


def foreign_node_questions(witnesses: Witnesses, node: NodePlan, _: ForeignNodeRefused) -> tuple[Refusal, ...]:
    """What a node's kubelet may ask (itself: the credential works) and may not (dry runs: nothing would change)."""
    # The admission plugin's own words: other refusals would say something else.
    denied = "is not allowed to modify"
    server = witnesses.server(node)
    questions = [
        Refusal(_node_question(server, node.name, "GET", None), "200", ""),
        Refusal(_node_question(server, node.name, "PATCH", _RESERVED_LABEL), "403", denied),
    ]
    others = [other.name for other in witnesses.plan.kubelets if other.name != node.name]
    if others:
        questions.append(Refusal(_node_question(server, others[0], "PATCH", _OPEN_LABEL), "403", denied))
    return tuple(questions)


def audit_question(node: NodePlan, check: AuditLevel) -> Question:
    """A request whose event is looked for in the audit log of a control plane; its own API server is asked."""
    method, path = check.request
    headers = {"Accept": "application/json"} | ({} if check.body is None else {"Content-Type": "application/json"})
    return Question(
        check.what,
        str(node.address),
        API_PORT,
        method,
        path,
        headers,
        check.body,
        _CREDENTIALS["kubelet"],
        over_tls=True,
    )


def _node_question(server: NodePlan, name: str, method: str, label: str | None) -> Question:
    path = f"/api/v1/nodes/{name}"
    what = f"{method} node {name} with the kubelet's credential"
    return Question(
        what if label is None else f"{what}, label {label}",
        str(server.address),
        API_PORT,
        method,
        path if label is None else f"{path}?dryRun=All",
        {"Accept": "application/json"} | ({} if label is None else {"Content-Type": "application/merge-patch+json"}),
        None if label is None else f'{{"metadata":{{"labels":{{"{label}":"tried"}}}}}}',
        _CREDENTIALS["kubelet"],
        over_tls=True,
    )


def _hosts(target: NodePlan, check: Probe | TlsListener) -> tuple[str, ...]:
    if check.scope == "loopback":
        return (_LOOPBACK,)
    return tuple(map(str, target.addresses[:1] if check.first_address_only else target.addresses))


def _where(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
