"""Which features a program of Kubernetes has on, by its own metrics."""

from __future__ import annotations

import re
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kharden.observe.collector.api import Api

_SECONDS = 60  # a loaded machine takes its time
_LIMIT = 1 << 24
_METRIC = "kubernetes_feature_enabled"
# k8s.io/component-base metrics/prometheus/feature: 1 is on; the stage of what is generally available is empty.
_FEATURE = re.compile(rf'^{_METRIC}\{{name="(?P<name>\w+)",stage="(?P<stage>\w*)"\}} (?P<on>[01])$', re.MULTILINE)


def alpha_by_api(api: Api, path: str) -> list[str]:
    """Alpha features that are on by the metrics under a path."""
    return alpha(api.text(path))


def alpha_by_http(url: str) -> list[str]:
    """The same of a program that answers in plain on loopback."""
    with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310  # an address of our own
        return alpha(answer.read(_LIMIT).decode())


def alpha(metrics: str) -> list[str]:
    """Names of alpha features that are on; metrics that say nothing of features are an error."""
    found = list(_FEATURE.finditer(metrics))
    if not found:
        raise RuntimeError(f"nothing about {_METRIC} in its metrics")
    return sorted(one["name"] for one in found if one["stage"] == "ALPHA" and one["on"] == "1")
