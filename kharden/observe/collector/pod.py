"""What a pod can reach: a scratch pod that only waits, and connections made from inside its network."""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kharden.observe.collector import reach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.observe.collector.cluster import Api

_PODS = "/api/v1/namespaces/default/pods"
_LABEL = "kharden.dev/scratch-of"
_START_SECONDS = 30.0
_PACE = 0.2
# In the place of a host: the addresses of the cluster's DNS, which only the cluster knows.
DNS = "dns"


def reached(api: Api, node: str, asked: dict[str, Any]) -> dict[str, str]:
    """Key → how it went, for each [host, port] of the targets that are asked for.

    Raises:
        RuntimeError: the pod didn't start, or nothing is known of the cluster's DNS.
    """
    dns = _dns(api) if any(host == DNS for host, _ in asked["targets"].values()) else ""
    targets = {
        key: {"host": dns if host == DNS else host, "port": port} for key, (host, port) in asked["targets"].items()
    }
    with _scratch_pod(api, node, asked["body"]) as process:
        return {key: answer["outcome"] for key, answer in reach.attempts_within(process, targets).items()}


def _dns(api: Api) -> str:
    """The address of a pod of the cluster's DNS that is ready."""
    slices = api.get("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices?labelSelector=k8s-app%3Dkube-dns")
    found = [
        address
        for one in slices["items"]
        for endpoint in one.get("endpoints") or ()
        if endpoint.get("conditions", {}).get("ready")
        for address in endpoint["addresses"]
    ]
    if not found:
        raise RuntimeError("no pod of the cluster's DNS is ready")
    return str(min(found))


@contextmanager
def _scratch_pod(api: Api, node: str, pod: dict[str, Any]) -> Iterator[Path]:
    """The process of a pod on this node; it goes with whatever an interrupted run of this node left behind."""
    name = f"kharden-verify-{node}-{secrets.token_hex(4)}"
    image = _image(api, node, pod["spec"]["containers"][0]["image"])
    body = pod | {
        "metadata": {"name": name, "labels": {_LABEL: node}},
        "spec": pod["spec"]
        | {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "containers": [pod["spec"]["containers"][0] | {"image": image, "imagePullPolicy": "Never"}],
        },
    }
    made = api.run("create", "--raw", _PODS, "-f", "-", body=body)
    try:
        if made.returncode:
            raise RuntimeError(f"the scratch pod was refused: {made.stderr.strip()[:200]}")
        yield _process(api, name)
    finally:
        api.run("delete", "--raw", f"{_PODS}?labelSelector={_LABEL}%3D{node}")


def _image(api: Api, node: str, wanted: str) -> str:
    """The image of this name that the node has; nothing is ever pulled."""
    repository = wanted.rpartition(":")[0]
    images = api.get(f"/api/v1/nodes/{node}")["status"]["images"]
    names: list[str] = [name for image in images for name in image["names"] if name.rpartition(":")[0] == repository]
    if not names:
        raise RuntimeError(f"{node} has no image {repository}")
    return max(names)


def _process(api: Api, name: str) -> Path:
    """A process of the pod once it runs: by its control group, which has the pod's uid in its name."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        pod = api.get(f"{_PODS}/{name}")
        if pod["status"].get("phase") == "Running" and pod["status"].get("podIP"):
            uid = pod["metadata"]["uid"]
            # The systemd driver writes underscores.
            found = _in_group(f"pod{uid}") or _in_group(f"pod{uid.replace('-', '_')}")
            if found:
                return found
        time.sleep(_PACE)  # the pace of looking; the pod's state ends the wait
    raise RuntimeError(f"the scratch pod didn't run within {_START_SECONDS:.0f} s")


def _in_group(part: str) -> Path | None:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if part in (folder / "cgroup").read_text(encoding="ascii", errors="replace"):
                return folder
        except OSError:
            continue
    return None
