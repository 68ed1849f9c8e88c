"""What a run that changes nothing must leave alone: managed files, running programs, objects of the API."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Run = Callable[[str, str, str], str]

# Its own cache, so that asking writes nothing of what is looked at.
_KUBECTL = "KUBECONFIG=/etc/kubernetes/admin.conf kubectl --cache-dir=/run/asked-by-tests"
_PROGRAMS = [
    "containerd", "haproxy", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
    "etcd", "coredns",
]  # fmt: skip
_LOOK = """
import hashlib, json, os, pathlib, subprocess
roots = ["/etc/kubernetes", "/etc/kharden", "/etc/containerd", "/etc/haproxy", "/etc/cni", "/etc/systemd/system",
         "/etc/sysctl.d", "/usr/local/bin", "/opt/cni/bin", "/var/lib/kubelet/config.yaml",
         "/var/lib/kubelet/kubeadm-flags.env"]
files = {}
for root in map(pathlib.Path, roots):
    for path in [root, *root.rglob("*")]:
        if path.is_file() and not path.is_symlink():
            found = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files[str(path)] = (digest, found.st_mode, found.st_mtime_ns, found.st_ino)
starts = {}
for name in os.listdir("/proc"):
    try:
        argv0 = open(f"/proc/{name}/cmdline").read().split(chr(0))[0].rpartition("/")[2]
        if name.isdigit() and argv0 in PROGRAMS:
            starts[f"{argv0} {name}"] = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()[19]
    except OSError:
        pass
print(json.dumps({"files": files, "starts": starts}))
"""
# All that a plan could write: also folders and links, owners, and when an inode was changed.
_WHOLE = """
import hashlib, json, os, pathlib
roots = ["/etc", "/opt", "/root", "/home", "/usr/local", "/var/lib/kharden", "/var/spool/cron",
         "/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeadm-flags.env", "/var/lib/kubelet/pki"]
# The lab's own: it tells nodes that are started about the others.
others = {"/etc/hosts", "/etc/resolv.conf", "/etc/mtab"}
whole = {}
for root in map(pathlib.Path, roots):
    for path in [root, *root.rglob("*")]:
        if str(path) in others or not os.path.lexists(path):
            continue
        found = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        target = os.readlink(path) if path.is_symlink() else ""
        times = (found.st_mode, found.st_uid, found.st_gid, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
        whole[str(path)] = (hashlib.sha256(content).hexdigest(), target, *times)
parameters = pathlib.Path("/proc/sys/net/ipv4/conf/all").iterdir()
whole |= {str(path): path.read_text() for path in parameters if path.stat().st_mode & 0o400}
whole["rules"] = os.popen("nft --stateless list table inet kharden").read()
print(json.dumps(whole))
"""
# What the cluster itself writes all the time: heartbeats, elections and events.
_RESTLESS = {"Lease", "Event"}
_CONTROL = "node-role.kubernetes.io/control-plane"


def of_node(run: Run, name: str) -> Any:  # noqa: ANN401  # JSON
    """Hashes and times of managed files, start times of programs."""
    return json.loads(run(name, "python3 -", f"PROGRAMS = {_PROGRAMS!r}\n{_LOOK}"))


def state(run: Run, nodes: Sequence[str]) -> dict[str, Any]:
    """The same of each node, and resource versions of all objects, as cp1 tells them."""
    with ThreadPoolExecutor() as pool:
        found = dict(zip(nodes, pool.map(lambda name: of_node(run, name), nodes), strict=True))
    found["objects"] = objects(run)
    return found


def steady_state(run: Run, nodes: Sequence[str]) -> dict[str, Any]:
    """The same as soon as controllers and kubelets have written what follows from what was done."""
    wait_until_steady(run)
    return state(run, nodes)


def wait_until_steady(run: Run, seconds: float = 300) -> None:
    """Controllers write for a while after what was done; nothing is compared before they rest.

    A kubelet that has just joined tells of its static pods a minute later, if the API didn't take them at once.
    """
    limit, last = time.monotonic() + seconds, objects(run)
    while True:
        time.sleep(5)  # the pace of looking; two looks that agree end the wait
        now = objects(run)
        untold = _static_pods(run, now) - now.keys()
        if now == last and not untold:
            return
        assert time.monotonic() < limit, [*differences(last, now), *untold]
        last = now


def _static_pods(run: Run, found: dict[str, Any]) -> set[str]:
    """What control planes run without the API; each has the same."""
    nodes = [key.split()[-1] for key, one in found.items() if key.startswith("Node ") and _CONTROL in one["labels"]]
    pods = run("cp1", "ls /etc/kubernetes/manifests", "").split()
    return {f"Pod kube-system {pod.removesuffix('.yaml')}-{node}" for pod in pods for node in nodes}


def whole(run: Run, names: Sequence[str]) -> dict[str, Any]:
    """As `state`, and all files of each node, its rules and its network's parameters."""
    return state(run, names) | {f"all of {name}": json.loads(run(name, "python3 -", _WHOLE)) for name in names}


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is another, for a test to say; in a node's state one level deeper."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += [f"{name}: {line}" for line in differences(old, new)]
        elif old != new:
            lines.append(name)
    return lines


def objects(run: Run) -> dict[str, Any]:
    """Resource versions of all objects."""
    kinds = run("cp1", f"{_KUBECTL} api-resources --verbs=list --output=name", "").split()
    wanted = ",".join(kind for kind in kinds if not kind.startswith(("events", "leases")))
    listed = json.loads(run("cp1", f"{_KUBECTL} get --all-namespaces {wanted} --output=json", ""))["items"]
    return {
        f"{item['kind']} {item['metadata'].get('namespace', '')} {item['metadata']['name']}": _version(item)
        for item in listed
        if item["kind"] not in _RESTLESS
    }


def _version(item: dict[str, Any]) -> object:
    """An object's resource version; heartbeats move a Node's, and a kubelet tells of its Pods when it has the time."""
    metadata = item["metadata"]
    if item["kind"] == "Node":
        return {"spec": item["spec"], "labels": metadata["labels"], "annotations": metadata["annotations"]}
    if item["kind"] == "Pod":
        ran = [(one["name"], one["restartCount"]) for one in item["status"].get("containerStatuses", ())]
        annotations = metadata.get("annotations")
        return {"uid": metadata["uid"], "annotations": annotations, "spec": item["spec"], "ran": ran}
    return metadata.get("resourceVersion")
