#!/usr/bin/python3 -SE
"""A Kubernetes program that does nothing but what kharden sees of it. One file under many names; runs on lab nodes.

It keeps no cluster: it says what a cluster that is as it should be would say, in the same forms. It starts quickly, as
the programs do that it stands for: what a role alone needs is imported there.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as in typing, whose import takes as long as all others
if TYPE_CHECKING:
    from typing import Any

    Object = dict[str, Any]

NODES = "BENCH_NODES"  # filled in by bench/fleet.py
IMAGES = "/var/lib/bench-images"
KUBERNETES = "/etc/kubernetes"
KUBELET = "/var/lib/kubelet"
PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
TAINT = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
SETTINGS = {"config.yaml": "kind: KubeletConfiguration\n", "kubeadm-flags.env": 'KUBELET_KUBEADM_ARGS=""\n'}
# What kubeadm keeps in the cluster: phase → the ConfigMap's name.
UPLOADS = {"upload-config": "kubeadm-config", "addon": "kube-proxy"}
# What a manifest says; that of the API server also says where etcd is.
SAYS = {name: f"# {name}\n" for name in PODS} | {"kube-apiserver": "# --etcd-servers=https://127.0.0.1:2379\n"}
UPLOADED = "kind: Stub\n"
UPLOAD = """\
[dryrun] Attached object:
apiVersion: v1
data:
  stub: |
    {text}kind: ConfigMap
metadata:
  name: {name}
"""


def get(path: str) -> str:
    """Read a file."""
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def put(path: str, text: str) -> None:
    """Write a file of mode 0600."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)


def is_up() -> None:
    """Say so to systemd (sd_notify(3))."""
    import socket  # noqa: PLC0415  # as said above

    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", f"\0{address[1:]}" if address.startswith("@") else address)


def forever() -> None:
    """Be a service that is up."""
    is_up()
    os.execv("/usr/bin/sleep", ["sleep", "infinity"])  # noqa: S606  # a shell would be one process more on each node


def containerd(_arguments: list[str]) -> None:
    """A runtime: something lies where its socket would."""
    put("/run/containerd/containerd.sock", "")
    forever()


def kubelet(_arguments: list[str]) -> None:
    """An agent, and the service proxy that it would start."""
    from http.server import BaseHTTPRequestHandler, HTTPServer  # noqa: PLC0415  # as said above

    class Well(BaseHTTPRequestHandler):
        """Is well whatever is asked."""

        def do_GET(self) -> None:
            """Answer."""
            self.send_response(200)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 10256), Well) as proxy:
        is_up()
        proxy.serve_forever()


def ctr(arguments: list[str]) -> None:
    """Images: an archive is the row that it has in the list."""
    verb = arguments[arguments.index("images") + 1]
    if verb == "list":
        print("REF TYPE DIGEST")
        print(get(IMAGES) if os.path.exists(IMAGES) else "")
    elif verb == "import":
        with open(IMAGES, "a", encoding="utf-8") as stream:
            stream.write(get(arguments[-1]))


def kubeadm(arguments: list[str]) -> None:
    """Files that init and join leave, and what a phase would write."""
    if arguments[:2] == ["token", "create"]:
        print("abcdef.0123456789abcdef")
    elif "--dry-run" in arguments and arguments[2] in UPLOADS:
        print(UPLOAD.format(text=UPLOADED, name=UPLOADS[arguments[2]]))
    elif "--dry-run" in arguments:
        names = {"etcd": PODS[:1], "control-plane": PODS[1:]}.get(arguments[2], ())
        files = SETTINGS if arguments[2] == "kubelet-start" else {f"{name}.yaml": SAYS[name] for name in names}
        for name, text in files.items():
            put(f"{os.environ['KUBEADM_INIT_DRYRUN_DIR']}/{name}", text)
    elif arguments[0] == "join" or (arguments[0] == "init" and arguments[1] != "phase"):
        made = {f"{KUBELET}/{name}": text for name, text in SETTINGS.items()}
        made |= {f"{KUBERNETES}/kubelet.conf": "", f"{KUBELET}/pki/kubelet-server-current.pem": ""}
        if arguments[0] == "init":
            made |= {f"{KUBERNETES}/manifests/{name}.yaml": SAYS[name] for name in PODS}
            made["/var/lib/etcd/member/snap/db"] = "stub"
        for path, text in made.items():
            put(path, text)
        os.execv("/usr/bin/systemctl", ["systemctl", "start", "kubelet.service"])  # noqa: S606  # the same process


def node(name: str, metadata: Object | None = None) -> Object:
    """A node that is ready."""
    return {
        "kind": "Node",
        "metadata": metadata or {"name": name},
        "spec": {"taints": [TAINT] if name.startswith("cp") else []},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def workload(kind: str, name: str) -> Object:
    """A daemon set or deployment that is rolled out."""
    status = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    metadata = {"name": name, "namespace": "kube-system", "generation": 1}
    return {"kind": kind, "metadata": metadata, "spec": {"replicas": 1}, "status": status}


def as_it_is(item: Object) -> Object:
    """An object as the API has it, where all is as it is given."""
    name = item["metadata"]["name"]
    if item["kind"] == "Node":
        return node(name, item["metadata"])
    return item | {"data": {"stub": UPLOADED}} if name in UPLOADS.values() else item


def kubectl(arguments: list[str]) -> None:
    """An API in which all that is asked for is as it is given."""
    import json  # noqa: PLC0415  # as said above

    if "--output=json" not in arguments:
        return
    items = json.load(sys.stdin)["items"] if "--filename=-" in arguments else []
    items = [as_it_is(item) for item in items]
    if any(argument.startswith(("nodes,", "daemonsets,")) for argument in arguments):
        items = [node(name) for name in NODES.split()]
        items += [workload("DaemonSet", "kube-proxy"), workload("Deployment", "coredns")]
    print(json.dumps({"kind": "List", "items": items}))


PROGRAMS = {"containerd": containerd, "kubelet": kubelet, "ctr": ctr, "kubeadm": kubeadm, "kubectl": kubectl}


if __name__ == "__main__":
    program = PROGRAMS.get(os.path.basename(sys.argv[0]))
    if program:
        program(sys.argv[1:])
