"""What somebody has set up in a cluster, and what is in the way of it now."""

from __future__ import annotations

from typing import Any


def webhook_without_backend(seconds: int) -> dict[str, Any]:
    """Somebody's check of every pod, whose backend is gone: whatever makes a pod is refused after `seconds`."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "gone"},
        "webhooks": [
            {
                "name": "gone.example.org",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": seconds,
                "clientConfig": {"service": {"name": "gone", "namespace": "default"}},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
            }
        ],
    }
