"""Arguments of kube-apiserver (CIS section 1.2)."""

from __future__ import annotations

from kharden.controls.catalogue.suites import GCM_SUITES, GO_VERSIONS, STRONG_SUITES
from kharden.controls.checks import (
    ArgumentAbsent,
    ArgumentAtLeast,
    ArgumentContains,
    ArgumentEquals,
    ArgumentLacks,
    ArgumentWithin,
)
from kharden.controls.model import CONTROL_PLANE, Control, FromPlan, Severity

_API = "kube-apiserver"
_PKI = "/etc/kubernetes/pki"
_FOLDER = "/etc/kharden/api"


def _equals(identifier: str, title: str, severity: Severity, arguments: dict[str, str]) -> Control:
    checks = tuple(ArgumentEquals(_API, name, value) for name, value in arguments.items())
    return Control(identifier, title, severity, CONTROL_PLANE, checks)


def _at_least(identifier: str, title: str, argument: str, least: int, planned: FromPlan) -> Control:
    return Control(identifier, title, "medium", CONTROL_PLANE, (ArgumentAtLeast(_API, argument, least, planned),))


CONTROLS = (
    _equals("apiserver-profiling-off", "The API server serves no profiling data", "medium", {"profiling": "false"}),
    Control(
        "apiserver-static-credentials-absent",
        "The API server knows no static passwords or tokens",
        "critical",
        CONTROL_PLANE,
        (ArgumentAbsent(_API, ("token-auth-file", "basic-auth-file")),),
    ),
    Control(
        "apiserver-insecure-port-absent",
        "The API server is not told of a port without TLS",
        "critical",
        CONTROL_PLANE,
        (
            ArgumentAbsent(_API, ("insecure-port", "insecure-bind-address", "address", "port")),
            ArgumentEquals(_API, "secure-port", "6443"),
        ),
    ),
    Control(
        "apiserver-anonymous-limited",
        "Which paths anonymous requests reach is said in a file, not left to a default",
        "high",
        CONTROL_PLANE,
        (
            ArgumentEquals(_API, "authentication-config", f"{_FOLDER}/authentication.yaml"),
            ArgumentAbsent(_API, ("anonymous-auth",)),
        ),
    ),
    _equals(
        "apiserver-authorization-modes",
        "Requests are authorized by Node and RBAC, nothing else",
        "critical",
        {"authorization-mode": "Node,RBAC"},
    ),
    Control(
        "apiserver-admission-plugins",
        "Admission has NodeRestriction, PodSecurity, EventRateLimit and DenyServiceExternalIPs",
        "high",
        CONTROL_PLANE,
        (
            ArgumentContains(
                _API,
                "enable-admission-plugins",
                ("NodeRestriction", "PodSecurity", "EventRateLimit", "DenyServiceExternalIPs"),
                FromPlan.ADMISSION_PLUGINS,
            ),
            ArgumentEquals(_API, "admission-control-config-file", f"{_FOLDER}/admission.yaml"),
        ),
    ),
    Control(
        "apiserver-admission-defaults",
        "Admission admits nothing blindly, and no default plugin is switched off",
        "high",
        CONTROL_PLANE,
        (
            ArgumentLacks(_API, "enable-admission-plugins", ("AlwaysAdmit",)),
            ArgumentAbsent(_API, ("disable-admission-plugins",)),
        ),
    ),
    _equals(
        "apiserver-kubelet-client",
        "The API server shows kubelets a client certificate",
        "high",
        {
            "kubelet-client-certificate": f"{_PKI}/apiserver-kubelet-client.crt",
            "kubelet-client-key": f"{_PKI}/apiserver-kubelet-client.key",
        },
    ),
    _equals(
        "apiserver-verifies-kubelets",
        "The API server verifies kubelets' serving certificates",
        "high",
        {"kubelet-certificate-authority": f"{_PKI}/ca.crt"},
    ),
    _equals(
        "apiserver-audit-log",
        "Requests are audited by a policy into a file",
        "high",
        {
            "audit-log-path": "/var/log/kubernetes/audit/audit.log",
            "audit-policy-file": f"{_FOLDER}/audit-policy.yaml",
        },
    ),
    _at_least(
        "apiserver-audit-log-age",
        "Audit files are kept 30 days or longer",
        "audit-log-maxage",
        30,
        FromPlan.AUDIT_MAX_AGE,
    ),
    _at_least(
        "apiserver-audit-log-backups",
        "At least 10 audit files are kept",
        "audit-log-maxbackup",
        10,
        FromPlan.AUDIT_MAX_BACKUPS,
    ),
    _at_least(
        "apiserver-audit-log-size",
        "An audit file rotates at 100 MB or more",
        "audit-log-maxsize",
        100,
        FromPlan.AUDIT_MAX_SIZE,
    ),
    _equals("apiserver-request-timeout", "Requests end after a minute", "low", {"request-timeout": "60s"}),
    _equals(
        "apiserver-service-account-keys",
        "Service account tokens are checked against their account and one signing key",
        "high",
        {"service-account-lookup": "true", "service-account-key-file": f"{_PKI}/sa.pub"},
    ),
    _equals(
        "apiserver-token-expiry",
        "Service account tokens are not silently extended",
        "medium",
        {"service-account-extend-token-expiration": "false"},
    ),
    _equals(
        "apiserver-etcd-client",
        "The API server verifies etcd and shows it a client certificate",
        "critical",
        {
            "etcd-cafile": f"{_PKI}/etcd/ca.crt",
            "etcd-certfile": f"{_PKI}/apiserver-etcd-client.crt",
            "etcd-keyfile": f"{_PKI}/apiserver-etcd-client.key",
        },
    ),
    _equals(
        "apiserver-serving-certificate",
        "The API server serves with its own certificate",
        "critical",
        {"tls-cert-file": f"{_PKI}/apiserver.crt", "tls-private-key-file": f"{_PKI}/apiserver.key"},
    ),
    _equals(
        "apiserver-client-authorities",
        "Client certificates are checked against a file of expected CAs",
        "critical",
        {"client-ca-file": f"{_PKI}/client-ca.crt"},
    ),
    _equals(
        "apiserver-front-proxy",
        "Only the front proxy's own client may speak for others",
        "critical",
        {
            "requestheader-client-ca-file": f"{_PKI}/front-proxy-ca.crt",
            "requestheader-allowed-names": "front-proxy-client",
        },
    ),
    _equals(
        "apiserver-encryption-configuration",
        "The API server has an encryption configuration and notices its changes",
        "high",
        {
            "encryption-provider-config": f"{_FOLDER}/encryption.yaml",
            "encryption-provider-config-automatic-reload": "true",
        },
    ),
    Control(
        "apiserver-tls",
        "The API server is told to speak TLS 1.2 or later with strong suites",
        "high",
        CONTROL_PLANE,
        (
            ArgumentWithin(_API, "tls-min-version", GO_VERSIONS),
            ArgumentWithin(_API, "tls-cipher-suites", STRONG_SUITES),
            # STIG V-242418 names four suites.
            ArgumentWithin(_API, "tls-cipher-suites", GCM_SUITES, presets=("stig",)),
        ),
    ),
)
