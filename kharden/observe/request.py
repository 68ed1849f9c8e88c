"""What the collector looks for on a node: exactly what its controls need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kharden.controls import CONTROLS, FromPlan
from kharden.controls import checks as kinds
from kharden.observe import bounds, pods
from kharden.observe.attempts import metadata_attempts, reach_attempts
from kharden.observe.measure import asked_of, encrypted_resources, pod_security
from kharden.observe.questions import (
    asked_by,
    askers,
    audit_question,
    foreign_node_questions,
    handshake_questions,
    probe_questions,
)
from kharden.observe.rules import TABLE
from kharden.observe.scratch import api_of
from kharden.plan.endpoints import bracketed, etcd_loopback
from kharden.plan.firewall import ETCD_CLIENT_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.observe.attempts import Attempt
    from kharden.observe.witnesses import Witnesses
    from kharden.plan.model import ClusterPlan, NodePlan

_ETCD_PKI = "/etc/kubernetes/pki/etcd"
_ETCDCTL = (
    f"--cacert={_ETCD_PKI}/ca.crt",
    f"--cert={_ETCD_PKI}/healthcheck-client.crt",
    f"--key={_ETCD_PKI}/healthcheck-client.key",
)
_AUDIT_LOG = "/var/log/kubernetes/audit/audit.log"
# A question that has an event whatever the layers are, by its text.
_ALWAYS_AUDITED = "a role is deleted"
_LISTS = (
    *("patterns", "folders", "digests", "packaged", "certificates", "kubeconfigs"),
    *("programs", "sysctls", "interfaces", "units"),
)
# Kind → section of the request, and the attribute that names what to look for; other kinds ask the cluster itself.
_LOOKED_AT: dict[type[kinds.Check], tuple[tuple[str, str], ...]] = {
    kinds.FileAttributes: (("patterns", "patterns"),),
    kinds.FilesAbsent: (("patterns", "patterns"),),
    kinds.FolderContents: (("folders", "path"),),
    kinds.InstalledPrograms: (("digests", "paths"),),
    kinds.PackagedPrograms: (("packaged", "paths"), ("programs", "programs")),
    kinds.CertificateFile: (("certificates", "path"), ("certificates", "authority")),
    kinds.TlsListener: (("certificates", "authority"),),
    kinds.TrustFile: (("certificates", "path"),),
    kinds.DistinctAuthorities: (("certificates", "paths"),),
    kinds.KubeconfigFile: (("kubeconfigs", "path"),),
    kinds.RunningPrograms: (("programs", "programs"),),
    kinds.ArgumentEquals: (("programs", "program"),),
    kinds.ArgumentAbsent: (("programs", "program"),),
    kinds.ArgumentContains: (("programs", "program"),),
    kinds.ArgumentLacks: (("programs", "program"),),
    kinds.ArgumentWithin: (("programs", "program"),),
    kinds.ArgumentAtLeast: (("programs", "program"),),
    kinds.FeatureGates: (("programs", "program"),),
    kinds.FeatureGateOn: (("programs", "program"),),
    kinds.ProcessOwner: (("programs", "program"),),
    kinds.SysctlValue: (("sysctls", "name"),),
    kinds.InterfaceSetting: (("interfaces", "name"),),
    kinds.UnitState: (("units", "name"),),
}
# Built-in groups with a dot in their names (k8s.io/kubernetes pkg/apis). Those of the API server's extensions,
# apiextensions.k8s.io and apiregistration.k8s.io, are stored as custom ones are.
_BUILT_IN = frozenset(
    {
        "admissionregistration.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
        "storagemigration.k8s.io",
    }
)
# What is stored by an older name (k8s.io/kubernetes pkg/kubeapiserver, SpecialDefaultResourcePrefixes).
_NAMED_ONCE = {
    "endpoints": "services/endpoints",
    "ingresses.networking.k8s.io": "ingress",
    "nodes": "minions",
    "replicationcontrollers": "controllers",
    "services": "services/specs",
}
# Where the kubelet says which of its feature gates are set.
FEATURE_GATES = ("featureGates",)
# Kinds that write (dry runs included), so a passive run leaves them out.
ACTIVE = (
    kinds.PodAdmission,
    kinds.NamespacesRestricted,
    kinds.ForeignNodeRefused,
    kinds.SecretsNotAudited,
    kinds.AuditLevel,
    kinds.BoundsEnforced,
    kinds.PoliciesEnforced,
)


def request(witnesses: Witnesses, node: NodePlan, tried: dict[str, dict[str, Any]], *, passive: bool) -> dict[str, Any]:
    """The request for one node, as `kharden.observe.collector` takes it. There is no secret in it.

    Args:
        witnesses: the cluster, and who of it can be asked.
        node: who is asked now.
        tried: what `attempts` says, which is for all nodes together.
        passive: nothing is to be written, and no pod tried.
    """
    plan = witnesses.plan
    wanted: dict[str, dict[str, None]] = {name: {} for name in _LISTS}
    for check in _checks(node):
        for section, name in _names(check) if asked_of(plan, check) else ():
            wanted[section][name] = None
    return {
        **{name: list(found) for name, found in wanted.items()},
        "handshakes": dict(
            question
            for check in _checks(node)
            if isinstance(check, kinds.TlsListener)
            for question in handshake_questions(node, check)
        ),
        "probes": _probes(witnesses, node, passive=passive),
        "firewall": TABLE,
        # Plain HTTP on loopback (kharden.controls.catalogue.reach lists it).
        "features": {"kube-proxy": "http://127.0.0.1:10249/metrics"} if node.kubelet else {},
        "sshd": {user: {"address": str(node.address), "port": node.ssh.port} for user in ("root", node.ssh.user)},
        "from_here": tried.get(node.name, {}).get("from_here", {}),
        "cluster": _cluster(witnesses, node, passive=passive) if _speaks(witnesses, node) else None,
    }


def attempts(witnesses: Witnesses) -> dict[str, dict[str, Any]]:
    """For each node and for the controller the connections that it tries, from itself and from a pod."""
    tried: dict[str, dict[str, Any]] = {}
    for target in witnesses.nodes:
        for attempt in _attempts(witnesses, target):
            own = tried.setdefault(attempt.place, {"from_here": {}, "from_pod": {}})
            own["from_pod" if attempt.origin == "pod" else "from_here"][attempt.key] = attempt.asked()
    return tried


def _attempts(witnesses: Witnesses, target: NodePlan) -> Iterator[Attempt]:
    for check in _checks(target):
        if isinstance(check, kinds.Reach):
            port = target.ssh.port if isinstance(check.port, FromPlan) else check.port
            yield from reach_attempts(witnesses, target, port, check)
        elif isinstance(check, kinds.MetadataUnreached):
            yield from metadata_attempts(witnesses.plan, target, check)


def _checks(node: NodePlan) -> Iterator[kinds.Check]:
    for control in CONTROLS:
        yield from control.checks_for(node.duties)


def _names(check: kinds.Check) -> Iterator[tuple[str, str]]:
    """Section of the request and what to look for there."""
    for section, attribute in _LOOKED_AT.get(type(check), ()):
        value = getattr(check, attribute)
        for name in (value,) if isinstance(value, str) else value or ():
            yield section, name


def _probes(witnesses: Witnesses, node: NodePlan, *, passive: bool) -> dict[str, Any]:
    questions = [
        question
        for target in asked_by(witnesses, node)
        for check in _checks(target)
        if isinstance(check, kinds.Probe) and node in askers(witnesses, target, check)
        for question in probe_questions(target, check)
    ]
    if not passive:
        questions += [
            refusal.question
            for check in _checks(node)
            if isinstance(check, kinds.ForeignNodeRefused)
            for refusal in foreign_node_questions(witnesses, node, check)
        ]
    return {question.text: question.asked() for question in questions}


def _speaks(witnesses: Witnesses, node: NodePlan) -> bool:
    return node.role == "control-plane" and node.name not in witnesses.mute


def _cluster(witnesses: Witnesses, node: NodePlan, *, passive: bool) -> dict[str, Any]:
    plan = witnesses.plan
    own = list(_checks(node))
    return {
        "node": node.name,
        "active": not passive,
        "api": api_of(node),
        "kubelets": [other.name for other in plan.kubelets if witnesses.settings_asker(other) == node],
        "settings": [list(path) for path in settings_paths()],
        "features": {
            "kube-controller-manager": 10257,
            "kube-scheduler": 10259,
        },
        "pods": {}
        if passive
        else {pods.title(check): pods.pod(check) for check in own if isinstance(check, kinds.PodAdmission)},
        "specs": [check.path for check in own if isinstance(check, kinds.NamespaceObjects)],
        "trials": {} if passive else bounds.trials(plan),
        "objects": [check.path for check in own if isinstance(check, kinds.ObjectsAbsent)],
        "violation": pods.violation(pod_security(plan)),
        "audit_log": _AUDIT_LOG,
        "audited": {
            check.what: audit_question(node, check).asked()
            for check in own
            if isinstance(check, kinds.AuditLevel) and asked_of(plan, check)
        },
        "audited_last": _ALWAYS_AUDITED,
    }


def etcd_question(plan: ClusterPlan, node: NodePlan) -> dict[str, Any] | None:
    """How a node's own member of etcd is read raw, which has everything; None where there is none."""
    if not node.etcd:
        return None
    endpoint = f"https://{bracketed(etcd_loopback(node))}:{ETCD_CLIENT_PORT}"
    return {
        "command": ["/usr/local/bin/etcdctl", f"--endpoints={endpoint}", *_ETCDCTL],
        "stored": {name: stored_under(name) for name in encrypted_resources(plan)},
    }


def settings_paths() -> tuple[tuple[str, ...], ...]:
    """Every kubelet setting that a control looks at, in a fixed order."""
    found = (
        check.path if isinstance(check, kinds.KubeletSetting | kinds.KubeletSettingWithin) else FEATURE_GATES
        for control in CONTROLS
        for check in control.all_checks
        if isinstance(check, kinds.KubeletSetting | kinds.KubeletSettingWithin | kinds.KubeletFeatureGates)
    )
    return tuple(dict.fromkeys(found))


def stored_under(resource: str) -> str:
    """The folder of etcd that holds a resource's objects; what isn't of the API server itself lies under its group."""
    name, _, group = resource.partition(".")
    built_in = "." not in group or group in _BUILT_IN
    return f"/registry/{_NAMED_ONCE.get(resource, name) if built_in else f'{group}/{name}'}/"
