"""What the cluster keeps: objects in etcd and the audit log."""

from __future__ import annotations

from kharden.controls.checks import EncryptedAtRest, SecretsNotAudited
from kharden.controls.model import CONTROL_PLANE, Control

CONTROLS = (
    Control(
        "etcd-encryption-at-rest",
        "Every object of the encrypted resources lies in etcd under the encryption provider's prefix",
        "critical",
        CONTROL_PLANE,
        (EncryptedAtRest(),),
        "rewrite the objects named (kubectl get, then replace) once the API server has loaded its keys",
    ),
    Control(
        "audit-keeps-secrets-out",
        "A write of a secret is in the audit log, its content is not",
        "high",
        CONTROL_PLANE,
        (SecretsNotAudited(),),
    ),
)
