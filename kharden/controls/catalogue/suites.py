"""Cipher suites that may be spoken, independent of what a cluster is told to use (CIS 1.2.29 and 4.2.12)."""

from __future__ import annotations

# TLS 1.2: forward secret and authenticated only, by Go's names.
STRONG_SUITES = tuple(
    f"TLS_ECDHE_{key}_WITH_{cipher}"
    for key in ("ECDSA", "RSA")
    for cipher in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")
)
GCM_SUITES = tuple(suite for suite in STRONG_SUITES if "_GCM_" in suite)
# The same suites as a handshake reports them (OpenSSL's names), and those of TLS 1.3, which have no choice in them.
SPOKEN_SUITES = (
    *(f"ECDHE-{key}-{cipher}" for key in ("ECDSA", "RSA") for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384")),
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)
GO_VERSIONS = ("VersionTLS12", "VersionTLS13")
ETCD_VERSIONS = ("TLS1.2", "TLS1.3")
SPOKEN_VERSIONS = ("TLSv1.2", "TLSv1.3")
