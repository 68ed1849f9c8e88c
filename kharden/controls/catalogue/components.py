"""Arguments and users of controller manager, scheduler and etcd (CIS sections 1.3, 1.4 and 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.controls.catalogue.suites import ETCD_VERSIONS, GO_VERSIONS, STRONG_SUITES
from kharden.controls.checks import (
    ArgumentAbsent,
    ArgumentEquals,
    ArgumentWithin,
    Check,
    FeatureGateOn,
    ProcessOwner,
)
from kharden.controls.model import CONTROL_PLANE, MEMBER, Control, Severity

if TYPE_CHECKING:
    from kharden.versions.gates import Component

_MANAGER: Component = "kube-controller-manager"
_SCHEDULER = "kube-scheduler"
_ETCD = "etcd"
_PKI = "/etc/kubernetes/pki"


def _control(identifier: str, title: str, severity: Severity, *checks: Check) -> Control:
    return Control(identifier, title, severity, CONTROL_PLANE, checks)


def _of_etcd(identifier: str, title: str, severity: Severity, *checks: Check) -> Control:
    return Control(identifier, title, severity, MEMBER, checks)


CONTROLS = (
    _control(
        "controller-manager-profiling-off",
        "The controller manager serves no profiling data",
        "medium",
        ArgumentEquals(_MANAGER, "profiling", "false"),
    ),
    _control(
        "controller-manager-loopback",
        "The controller manager listens on loopback",
        "high",
        ArgumentEquals(_MANAGER, "bind-address", "127.0.0.1"),
    ),
    _control(
        "controller-manager-pod-collection",
        "Terminated pods are collected",
        "low",
        ArgumentEquals(_MANAGER, "terminated-pod-gc-threshold", "1000"),
    ),
    _control(
        "controller-manager-credentials",
        "Each controller uses a service account of its own",
        "high",
        ArgumentEquals(_MANAGER, "use-service-account-credentials", "true"),
    ),
    _control(
        "controller-manager-signing-key",
        "Service account tokens are signed with the cluster's key",
        "high",
        ArgumentEquals(_MANAGER, "service-account-private-key-file", f"{_PKI}/sa.key"),
    ),
    _control(
        "controller-manager-root-authority",
        "Pods are given the cluster's CA to verify the API server with",
        "high",
        ArgumentEquals(_MANAGER, "root-ca-file", f"{_PKI}/ca.crt"),
    ),
    _control(
        "controller-manager-serving-rotation",
        "Rotation of kubelets' serving certificates is not switched off",
        "medium",
        FeatureGateOn(_MANAGER, "RotateKubeletServerCertificate"),
    ),
    _control(
        "controller-manager-tls",
        "The controller manager is told to speak TLS 1.2 or later with strong suites",
        "medium",
        ArgumentWithin(_MANAGER, "tls-min-version", GO_VERSIONS),
        ArgumentWithin(_MANAGER, "tls-cipher-suites", STRONG_SUITES),
    ),
    _control(
        "scheduler-profiling-off",
        "The scheduler serves no profiling data",
        "medium",
        ArgumentEquals(_SCHEDULER, "profiling", "false"),
    ),
    _control(
        "scheduler-loopback",
        "The scheduler listens on loopback",
        "high",
        ArgumentEquals(_SCHEDULER, "bind-address", "127.0.0.1"),
    ),
    _control(
        "scheduler-tls",
        "The scheduler is told to speak TLS 1.2 or later with strong suites",
        "medium",
        ArgumentWithin(_SCHEDULER, "tls-min-version", GO_VERSIONS),
        ArgumentWithin(_SCHEDULER, "tls-cipher-suites", STRONG_SUITES),
    ),
    _of_etcd(
        "etcd-own-user",
        "etcd runs as its own user",
        "high",
        ProcessOwner(_ETCD, "etcd"),
    ),
    _of_etcd(
        "etcd-serving-certificate",
        "etcd serves with its own certificate",
        "critical",
        ArgumentEquals(_ETCD, "cert-file", f"{_PKI}/etcd/server.crt"),
        ArgumentEquals(_ETCD, "key-file", f"{_PKI}/etcd/server.key"),
    ),
    _of_etcd(
        "etcd-client-certificates",
        "etcd's clients must show a certificate of etcd's own CA",
        "critical",
        ArgumentEquals(_ETCD, "client-cert-auth", "true"),
        ArgumentEquals(_ETCD, "trusted-ca-file", f"{_PKI}/etcd/ca.crt"),
        # With such a file etcd takes no notice of its flags.
        ArgumentAbsent(_ETCD, ("config-file",)),
    ),
    _of_etcd(
        "etcd-peer-certificates",
        "etcd's members use a certificate among themselves",
        "critical",
        ArgumentEquals(_ETCD, "peer-cert-file", f"{_PKI}/etcd/peer.crt"),
        ArgumentEquals(_ETCD, "peer-key-file", f"{_PKI}/etcd/peer.key"),
    ),
    _of_etcd(
        "etcd-peer-client-certificates",
        "etcd's members must show a certificate of etcd's own CA",
        "critical",
        ArgumentEquals(_ETCD, "peer-client-cert-auth", "true"),
        ArgumentEquals(_ETCD, "peer-trusted-ca-file", f"{_PKI}/etcd/ca.crt"),
    ),
    _of_etcd(
        "etcd-self-made-certificates-off",
        "etcd never makes its own certificates",
        "critical",
        ArgumentEquals(_ETCD, "auto-tls", "false"),
        ArgumentEquals(_ETCD, "peer-auto-tls", "false"),
    ),
    _of_etcd(
        "etcd-tls",
        "etcd is told to speak TLS 1.2 or later with strong suites",
        "high",
        ArgumentWithin(_ETCD, "tls-min-version", ETCD_VERSIONS),
        ArgumentWithin(_ETCD, "cipher-suites", STRONG_SUITES),
    ),
)
