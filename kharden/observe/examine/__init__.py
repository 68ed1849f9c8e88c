"""Holding facts against a control: each kind of check has one function, which says what it expected and what it saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kharden.controls import checks as kinds
from kharden.observe.examine import (
    arguments,
    certificates,
    cluster,
    connections,
    files,
    firewall,
    gates,
    machine,
    objects,
    sockets,
    sshd,
)
from kharden.observe.facts import Unobserved
from kharden.observe.measure import asked_of
from kharden.observe.model import Finding, Observation, clean
from kharden.observe.request import ACTIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kharden.controls import Control
    from kharden.observe.examine.view import View
    from kharden.observe.model import Source

    # The first argument is of the kind that the table below names for the function.
    Examiner = Callable[[Any, View], Iterator[Finding]]

_EXAMINERS: dict[type[kinds.Check], tuple[Source, Examiner]] = {
    kinds.FileAttributes: ("collector", files.attributes),
    kinds.FilesAbsent: ("collector", files.absent),
    kinds.FolderContents: ("collector", files.contents),
    kinds.ArgumentEquals: ("collector", arguments.equals),
    kinds.ArgumentAbsent: ("collector", arguments.absent),
    kinds.ArgumentContains: ("collector", arguments.contains),
    kinds.ArgumentLacks: ("collector", arguments.lacks),
    kinds.ArgumentWithin: ("collector", arguments.within),
    kinds.ArgumentAtLeast: ("collector", arguments.at_least),
    kinds.FeatureGates: ("collector", gates.as_specified),
    kinds.FeatureGateOn: ("collector", gates.on),
    kinds.AlphaFeaturesOff: ("collector", gates.alpha_off),
    kinds.KubeletFeatureGates: ("api", gates.kubelet_as_specified),
    kinds.KubeletAlphaFeaturesOff: ("api", gates.kubelet_alpha_off),
    kinds.ProcessOwner: ("collector", arguments.owner),
    kinds.RunningPrograms: ("collector", machine.running),
    kinds.InstalledPrograms: ("collector", machine.installed),
    kinds.PackagedPrograms: ("collector", machine.packaged),
    kinds.SysctlValue: ("collector", machine.sysctl),
    kinds.InterfaceSetting: ("collector", machine.interfaces),
    kinds.UnitState: ("collector", machine.unit),
    kinds.JournalSetting: ("collector", machine.journal_setting),
    kinds.JournalKept: ("collector", machine.journal_kept),
    kinds.JournalBounded: ("collector", machine.journal_bounded),
    kinds.SshdSetting: ("collector", sshd.setting),
    kinds.SshdWithin: ("collector", sshd.within),
    kinds.SshdNobodyElse: ("collector", sshd.nobody_else),
    kinds.SshdRootLogin: ("collector", sshd.root_login),
    kinds.ListeningSockets: ("collector", sockets.listening),
    kinds.CertificateFile: ("collector", certificates.leaf),
    kinds.KubeconfigFile: ("collector", certificates.kubeconfig),
    kinds.TrustFile: ("collector", certificates.trust),
    kinds.DistinctAuthorities: ("collector", certificates.distinct),
    kinds.TlsListener: ("probe", connections.tls),
    kinds.Probe: ("probe", connections.probe),
    kinds.ForeignNodeRefused: ("probe", connections.foreign_node),
    kinds.KubeletSetting: ("api", cluster.kubelet_setting),
    kinds.KubeletSettingWithin: ("api", cluster.kubelet_setting_within),
    kinds.PodAdmission: ("api", cluster.pod_admission),
    kinds.DefaultServiceAccounts: ("api", cluster.service_accounts),
    kinds.ObjectsAbsent: ("api", cluster.objects_absent),
    kinds.NodeMarks: ("api", objects.marks),
    kinds.NamespaceLevels: ("api", objects.levels),
    kinds.NamespaceObjects: ("api", objects.present),
    kinds.BoundsEnforced: ("api", objects.bounds_enforced),
    kinds.PoliciesEnforced: ("probe", objects.policies_enforced),
    kinds.EncryptedAtRest: ("collector", cluster.encrypted),
    kinds.SecretsNotAudited: ("collector", cluster.not_audited),
    kinds.FirewallRules: ("collector", firewall.rules),
    kinds.ServiceTables: ("collector", firewall.tables),
    kinds.Reach: ("probe", firewall.reach),
    kinds.MetadataUnreached: ("probe", firewall.metadata),
    kinds.AuditLevel: ("collector", cluster.audit_level),
    kinds.NamespacesRestricted: ("api", cluster.namespaces_restricted),
}
# Kinds about which any control plane can speak, also where the node itself is away.
_TOLD_BY_ANY = (
    kinds.NodeMarks,
    kinds.NamespaceLevels,
    kinds.NamespaceObjects,
    kinds.DefaultServiceAccounts,
    kinds.ObjectsAbsent,
    kinds.EncryptedAtRest,
    kinds.PoliciesEnforced,
)
# Kinds that look at nothing but what testinfra can be asked too.
_BY_HOST = (
    kinds.ArgumentEquals,
    kinds.ArgumentAbsent,
    kinds.ArgumentContains,
    kinds.ArgumentLacks,
    kinds.ArgumentWithin,
    kinds.ArgumentAtLeast,
    kinds.ProcessOwner,
    kinds.SysctlValue,
    kinds.UnitState,
)


def examine(control: Control, view: View, *, live: bool = False) -> tuple[Observation, ...]:
    """What a node's facts say about a control.

    Args:
        control: one that applies to the node and has checks.
        view: the node, its facts, and what to hold them against.
        live: `view.host` is the node itself, asked just now, and not the snapshot.
    """
    found = []
    for check in control.checks_for(view.node.duties):
        if not asked_of(view.plan, check):
            continue
        source, examiner = _EXAMINERS[type(check)]
        away = view.snapshot.away.get(view.node.name)
        if away is not None and not isinstance(check, _TOLD_BY_ANY):
            # Whatever others saw of it, such as a port that doesn't answer, says nothing about how it is set up.
            findings = [Finding(control.title, away, None)]
        elif view.snapshot.passive and isinstance(check, ACTIVE):
            findings = [Finding(control.title, "left out, since this run changes nothing", None, left_out=True)]
        else:
            findings = _findings(control, examiner(check, view))
        found += [_observation(control, view, "live" if live else source, finding) for finding in findings]
    return tuple(found)


def _findings(control: Control, looked: Iterator[Finding]) -> list[Finding]:
    """What was found as far as it could be seen; at least one finding."""
    findings: list[Finding] = []
    try:
        findings.extend(looked)
    except Unobserved as reason:
        findings.append(Finding(control.title, str(reason), None))
    return findings or [Finding(control.title, "nothing to look at", None)]


def can_be_live(control: Control) -> bool:
    """Whether a node can be asked directly: files without wildcards, processes, kernel settings, units."""
    return bool(control.all_checks) and all(
        isinstance(check, _BY_HOST)
        or (isinstance(check, kinds.FileAttributes) and not any("*" in pattern for pattern in check.patterns))
        for check in control.all_checks
    )


def _observation(control: Control, view: View, source: Source, finding: Finding) -> Observation:
    return Observation(
        control.id,
        view.node.name,
        source,
        clean(finding.expected),
        clean(finding.observed),
        view.snapshot.at,
        finding.ok,
        finding.left_out,
        finding.chosen,
    )
