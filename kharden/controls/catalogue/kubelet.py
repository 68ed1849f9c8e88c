"""The kubelet: its arguments, and the settings that the running one reports of itself (CIS section 4.2)."""

from __future__ import annotations

from kharden.controls.catalogue.suites import GO_VERSIONS, STRONG_SUITES
from kharden.controls.checks import ArgumentAbsent, Check, KubeletSetting, KubeletSettingWithin
from kharden.controls.model import NODES, Control, FromPlan, Severity

# Where a setting has `absent`, its zero value is left out of JSON (omitempty in k8s.io/kubelet config/v1beta1).
# The STIG takes these on the command line for a finding: a flag overrides the file that is reviewed.
_FILE_ONLY = (
    "anonymous-auth",
    "authorization-mode",
    "client-ca-file",
    "feature-gates",
    "pod-manifest-path",
    "protect-kernel-defaults",
    "read-only-port",
    "streaming-connection-idle-timeout",
    "tls-cert-file",
    "tls-private-key-file",
)


def _control(identifier: str, title: str, severity: Severity, *checks: Check) -> Control:
    return Control(identifier, title, severity, NODES, checks)


CONTROLS = (
    _control(
        "kubelet-anonymous-off",
        "The kubelet refuses anonymous requests",
        "critical",
        KubeletSetting(("authentication", "anonymous", "enabled"), value=False),
    ),
    _control(
        "kubelet-authorization-webhook",
        "The kubelet asks the API server who may do what",
        "critical",
        KubeletSetting(("authorization", "mode"), "Webhook"),
        KubeletSetting(("authentication", "webhook", "enabled"), value=True),
    ),
    _control(
        "kubelet-client-authority",
        "The kubelet checks client certificates against the cluster's CA",
        "critical",
        KubeletSetting(("authentication", "x509", "clientCAFile"), "/etc/kubernetes/pki/ca.crt"),
    ),
    _control(
        "kubelet-read-only-port-off",
        "The kubelet is told to open no read-only port",
        "high",
        KubeletSetting(("readOnlyPort",), 0, absent=0),
    ),
    _control(
        "kubelet-streaming-timeout",
        "Idle streams end after five minutes",
        "low",
        KubeletSetting(("streamingConnectionIdleTimeout",), "5m0s"),
    ),
    _control(
        "kubelet-utility-chains",
        "The kubelet keeps its packet filter chains",
        "low",
        KubeletSetting(("makeIPTablesUtilChains",), value=True),
    ),
    _control(
        "kubelet-event-rate",
        "The kubelet limits its events",
        "low",
        KubeletSetting(("eventRecordQPS",), 50),
    ),
    _control(
        "kubelet-client-rotation",
        "The kubelet renews its client certificate",
        "medium",
        KubeletSetting(("rotateCertificates",), value=True, absent=False),
    ),
    _control(
        "kubelet-serving-rotation",
        "The kubelet asks the cluster for its serving certificate and renews it",
        "high",
        KubeletSetting(("serverTLSBootstrap",), value=True, absent=False),
    ),
    _control(
        "kubelet-tls",
        "The kubelet is told to speak TLS 1.2 or later with strong suites",
        "high",
        KubeletSettingWithin(("tlsMinVersion",), GO_VERSIONS),
        KubeletSettingWithin(("tlsCipherSuites",), STRONG_SUITES),
    ),
    _control(
        "kubelet-pid-limit",
        "Pods have a limit of processes",
        "medium",
        KubeletSetting(("podPidsLimit",), FromPlan.POD_PIDS_LIMIT),
    ),
    _control(
        "kubelet-seccomp-default",
        "Containers get the runtime's seccomp profile unless they say otherwise",
        "high",
        KubeletSetting(("seccompDefault",), value=True),
    ),
    _control(
        "kubelet-images-verified",
        "A pod gets an image that is already on the node only if it could pull it itself",
        "medium",
        KubeletSetting(("imagePullCredentialsVerificationPolicy",), FromPlan.IMAGE_VERIFICATION),
        KubeletSettingWithin(("preloadedImagesVerificationAllowlist",), FromPlan.OWN_IMAGES, may_be_empty=True),
    ),
    _control(
        "kubelet-protects-kernel-settings",
        "The kubelet insists on its kernel settings",
        "medium",
        KubeletSetting(("protectKernelDefaults",), value=True, absent=False),
    ),
    _control(
        "kubelet-hostname-own",
        "The kubelet goes by its machine's own name",
        "low",
        ArgumentAbsent("kubelet", ("hostname-override",)),
    ),
    _control(
        "kubelet-flags-in-file",
        "Nothing that concerns security is set on the kubelet's command line",
        "medium",
        ArgumentAbsent("kubelet", _FILE_ONLY),
    ),
)
