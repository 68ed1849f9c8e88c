"""A control plane's rendered files below a folder, and the real programs that run with them as its static pods would.

kubeadm writes the static pods from the rendered configuration; what they would see at their mounts is then looked for
below the folder, and what they would listen on becomes a free port of loopback. Nothing else of them is changed.
"""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import yaml

from kharden.pki.bundle import load_or_create
from kharden.render.control_plane import kubeconfig
from kharden.seal import STORES, load_or_create_identity
from tests.unit.ports import free_port

from .stand_ins import rendered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kharden.plan.model import ClusterPlan
    from kharden.render.artefact import NodeFiles

    from .programs import Programs

# What kube-apiserver says when it has read all of its flags and files.
READ = "validating admission controller(s) successfully"
PHASES = {
    "etcd": ("etcd", "local"),
    "kube-apiserver": ("control-plane", "apiserver"),
    "kube-controller-manager": ("control-plane", "controller-manager"),
    "kube-scheduler": ("control-plane", "scheduler"),
}
_SECONDS = 180


@dataclass
class Process:
    """A program that runs, and what it has said so far."""

    program: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, condition: Callable[[], bool]) -> None:
        limit = time.monotonic() + _SECONDS
        while not condition():
            assert self.program.poll() is None, self.said
            assert time.monotonic() < limit, self.said
            time.sleep(0.05)  # the pace of looking

    def wait_for_words(self, words: str) -> None:
        self.wait_for(lambda: words in self.said)


@dataclass
class ControlPlane:
    """The files of one control plane below `root`; where etcd is elsewhere, those of its machine below `member`."""

    root: Path
    programs: Programs
    member: Path | None = None
    etcd_port: int = field(default_factory=free_port)
    api_port: int = field(default_factory=free_port)

    def place(self, node: NodeFiles) -> None:
        """Write the files of a node below the root, and the static pods that kubeadm makes of them."""
        for folder in node.folders:
            self.path(folder.path).mkdir(parents=True, exist_ok=True)
        for file in node.files:
            self.path(file.path).parent.mkdir(parents=True, exist_ok=True)
            self.path(file.path).write_bytes(file.content)
            self.path(file.path).chmod(file.mode)
        config = self.path("/etc/kharden/kubeadm/init.yaml")
        config.write_text(config.read_text().replace("/etc/kharden/kubeadm/patches", str(config.parent / "patches")))
        for phase in PHASES.values():
            subprocess.run(
                [self.programs["kubeadm"], "init", "phase", *phase, "--dry-run", f"--config={config}"],
                env={"PATH": os.defpath, "KUBEADM_INIT_DRYRUN_DIR": str(self.path("/etc/kubernetes/manifests"))},
                check=True,
                capture_output=True,
            )

    def place_member(self, node: NodeFiles) -> None:
        """Write the files of a machine of etcd's own below a folder beside the root."""
        self.member = self.root.with_name("member")
        for folder in node.folders:
            (self.member / folder.path[1:]).mkdir(parents=True, exist_ok=True)
        for file in node.files:
            path = self.member / file.path[1:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)

    def _unit_argv(self, member: Path) -> list[str]:
        """The command of etcd's service, with its flags' paths where the unit's mount would lead."""
        unit = (member / "etc/systemd/system/etcd.service").read_text(encoding="utf-8")
        command = re.search(r"^ExecStart=(.*?[^\\])\n", unit, re.MULTILINE | re.DOTALL)
        bound = re.search(r"^BindReadOnlyPaths=(.*):(.*)\n", unit, re.MULTILINE)
        assert command
        assert bound
        flags = command[1].replace("\\\n", " ").split()[1:]
        moved = {bound[2]: f"{member}{bound[1]}", "/var/lib/etcd": f"{member}/var/lib/etcd"}
        for inside, outside in moved.items():
            flags = [re.sub(rf"(?<==){re.escape(inside)}(?=/|$)", outside, flag) for flag in flags]
        return [self.programs["etcd"], *flags]

    def path(self, path: str) -> Path:
        return self.root / path[1:]

    def argv(self, name: str) -> list[str]:
        """The command of a static pod, with its flags' paths where the pod's mounts would lead."""
        if name == "etcd" and self.member:
            return self._unit_argv(self.member)
        pod = yaml.safe_load(self.path(f"/etc/kubernetes/manifests/{name}.yaml").read_bytes())["spec"]
        volumes = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in pod["containers"][0]["volumeMounts"]}
        flags = []
        for flag in pod["containers"][0]["command"][1:]:
            for inside in sorted(mounts, key=len, reverse=True):
                moved = re.sub(rf"(?<==){re.escape(inside)}(?=/|$)", str(self.path(mounts[inside])), flag)
                if moved != flag:
                    break
            flags.append(moved)
        return [self.programs[name], *flags]

    def with_flags(self, name: str, /, **changes: str) -> list[str]:
        """The command of a static pod with other values of some flags, which are all about where it listens."""
        argv = self.argv(name)
        for flag, value in changes.items():
            prefix = f"--{flag.replace('_', '-')}="
            argv = [*(each for each in argv if not each.startswith(prefix)), prefix + value]
        return argv

    @contextmanager
    def run(self, argv: list[str], name: str) -> Iterator[Process]:
        log = self.root / f"{name}.log"
        with log.open("wb") as stream, subprocess.Popen(argv, stdout=stream, stderr=stream) as program:
            try:
                yield Process(program, log)
            finally:
                program.kill()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Its etcd and its API server, ready, for as long as the block lasts."""
        with self.run(self.etcd(), "etcd") as etcd:
            etcd.wait_for_words("ready to serve client requests")
            with self.run(self.api_server(), "kube-apiserver") as server:
                server.wait_for(lambda: self.get("/readyz")[0] == 200)
                yield

    def etcd(self) -> list[str]:
        client, peer = f"https://127.0.0.1:{self.etcd_port}", f"https://127.0.0.1:{free_port()}"
        member = next(flag.partition("=")[2] for flag in self.argv("etcd") if flag.startswith("--name="))
        return self.with_flags(
            "etcd",
            advertise_client_urls=client,
            listen_client_urls=client,
            listen_peer_urls=peer,
            initial_advertise_peer_urls=peer,
            initial_cluster=f"{member}={peer}",
            listen_metrics_urls=f"http://127.0.0.1:{free_port()}",
        )

    def api_server(self) -> list[str]:
        return self.with_flags(
            "kube-apiserver",
            etcd_servers=f"https://127.0.0.1:{self.etcd_port}",
            bind_address="127.0.0.1",
            secure_port=str(self.api_port),
        )

    def component(self, name: str, port: int) -> list[str]:
        """The controller manager or the scheduler, whose kubeconfigs lead to this API server."""
        config = self.path(f"/etc/kubernetes/{name.removeprefix('kube-')}.conf")
        text = re.sub(r'server: "[^"]*"', f'server: "https://127.0.0.1:{self.api_port}"', config.read_text())
        config.write_text(text)
        return self.with_flags(name, secure_port=str(port))

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask the API server as nobody; 0 where it doesn't answer."""
        context = ssl.create_default_context(cafile=self.path("/etc/kubernetes/pki/ca.crt"))
        return _get(f"https://127.0.0.1:{self.api_port}{path}", context)


def placed(plan: ClusterPlan, programs: Programs, folder: Path) -> ControlPlane:
    """A control plane with keys and certificates of its own, and a kubeconfig for whoever looks at it."""
    identities, _ = load_or_create_identity({"HOME": str(folder)}, create=STORES)
    # The programs look at the machine's clock.
    secrets, _ = load_or_create(plan, folder / "secrets", identities, datetime.now(UTC))
    build = rendered(plan, secrets)
    own = ControlPlane(folder / "node", programs)
    own.place(build.nodes[0])
    if plan.etcd_machines:
        own.place_member(next(node for node in build.nodes if node.node == plan.etcd_machines[0].name))
    server = f"https://127.0.0.1:{own.api_port}"
    administrator = secrets.roots.open().super_admin
    text = kubeconfig(plan.name, secrets.authority, administrator, user="test", server=server)
    (folder / "kubeconfig").write_bytes(text)
    for manifest in build.cluster:
        (folder / manifest.name).write_bytes(manifest.content)
    return own


def get_unverified(port: int, path: str) -> tuple[int, bytes]:
    """Ask a component that makes itself a certificate at every start."""
    return _get(f"https://127.0.0.1:{port}{path}", ssl._create_unverified_context())  # noqa: S323, SLF001  # as said


def _get(url: str, context: ssl.SSLContext) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, context=context, timeout=5) as answer:  # noqa: S310  # https, as all callers say
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""
