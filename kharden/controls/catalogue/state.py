"""What the cluster keeps: objects in etcd and the audit log."""

from __future__ import annotations

from kharden.controls.checks import AuditLevel, EncryptedAtRest, SecretsNotAudited
from kharden.controls.model import CONTROL_PLANE, MEMBER, Control

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_NEVER = (
    AuditLevel("a lease is deleted", ("DELETE", "/apis/coordination.k8s.io/v1/namespaces/default/leases/NAME"), "None"),
    AuditLevel("an event is deleted", ("DELETE", "/api/v1/namespaces/default/events/NAME"), "None"),
    AuditLevel("a health path is read", ("GET", "/livez?NAME"), "None"),
)
# What may hold a secret, and who got into a container or through to a port.
_WITHOUT_CONTENT = (
    AuditLevel("a secret is deleted", ("DELETE", "/api/v1/namespaces/default/secrets/NAME"), "Metadata"),
    AuditLevel("a config map is read", ("GET", "/api/v1/namespaces/default/configmaps/NAME"), "Metadata"),
    AuditLevel(
        "a token is reviewed",
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews?fieldManager=NAME"),
        "Metadata",
        '{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"NAME"}}',
    ),
    AuditLevel(
        "a command is run in a container", ("GET", "/api/v1/namespaces/default/pods/NAME/exec?command=id"), "Metadata"
    ),
    AuditLevel("a pod's terminal is taken", ("POST", "/api/v1/namespaces/default/pods/NAME/attach"), "Metadata"),
    AuditLevel("a pod's port is forwarded", ("GET", "/api/v1/namespaces/default/pods/NAME/portforward"), "Metadata"),
    AuditLevel("a kubelet is reached through the API", ("GET", "/api/v1/nodes/NAME/proxy/pods"), "Metadata"),
    AuditLevel("a custom resource is made", ("POST", "/apis/verify.kharden.dev/v1/things?NAME"), "Metadata", "{}"),
)
_WHOLE = (
    AuditLevel("a role is deleted", ("DELETE", f"{_RBAC}/namespaces/default/roles/NAME"), "RequestResponse"),
    AuditLevel(
        "an admission webhook is deleted",
        ("DELETE", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/NAME"),
        "RequestResponse",
    ),
    AuditLevel(
        "a certificate request is approved",
        ("PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/NAME/approval"),
        "RequestResponse",
        "{}",
    ),
    AuditLevel("a namespace is deleted", ("DELETE", "/api/v1/namespaces/NAME"), "RequestResponse"),
)
_LAYERS = (
    AuditLevel("a service is read", ("GET", "/api/v1/namespaces/default/services/NAME"), "Metadata", layer="reads"),
    AuditLevel(
        "a service is deleted",
        ("DELETE", "/api/v1/namespaces/default/services/NAME"),
        "RequestResponse",
        layer="contents",
    ),
)

CONTROLS = (
    Control(
        "etcd-encryption-at-rest",
        "Every object of the encrypted resources lies in etcd under the encryption provider's prefix",
        "critical",
        MEMBER,
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
    Control(
        "audit-levels",
        "Requests of each class are in the audit log with as much of their content as the policy says",
        "high",
        CONTROL_PLANE,
        (*_NEVER, *_WITHOUT_CONTENT, *_WHOLE, *_LAYERS),
    ),
)
