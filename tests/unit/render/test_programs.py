"""Other programs that read what is rendered are asked whether they take it, and what they make of it."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import tomllib
from datetime import UTC, datetime
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kharden.controls import control
from kharden.controls.checks import SshdSetting, SshdWithin
from kharden.observe.collector import journal
from kharden.pki.bundle import load_or_create
from kharden.seal import STORES, load_or_create_identity

from .stand_ins import GOLDEN, planned, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.plan.model import ClusterPlan
    from kharden.render.cluster import Build

    from .programs import Programs

PACKAGES = {"systemd-analyze": "systemd", "sshd": "openssh-server"}
# Where Debian has programs that are not for everybody.
PATH = os.pathsep.join(("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", os.environ.get("PATH", "")))


def run(*argv: str | Path, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": PATH, "LC_ALL": "C.UTF-8", **environment},
    )


def own_program(name: str) -> str:
    path = shutil.which(name, path=PATH)
    if path is None:
        pytest.skip(f"needs {name}: apt-get install {PACKAGES.get(name, name)}")
    return path


def texts(build: Build, path: str) -> dict[str, str]:
    """A file of every node that has it, by the node's name."""
    return {node.node: file.content.decode() for node in build.nodes for file in node.files if file.path == path}


# --- containerd


def leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, value


def dumped(programs: Programs, path: Path, content: str) -> tuple[dict[str, Any], str]:
    """The whole configuration that containerd would run with, and what it complains about."""
    path.write_text(content, encoding="utf-8")
    done = run(programs["containerd"], "--config", path, "config", "dump")
    assert done.returncode == 0, done.stderr
    return tomllib.loads(done.stdout), done.stderr


@pytest.mark.programs
def test_containerd_knows_every_key_and_keeps_its_value(build: Build, programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    done = run(programs["containerd"], "--config", tmp_path / "none", "config", "default")
    known = {place for place, _ in leaves(tomllib.loads(done.stdout))}
    for node, content in texts(build, "/etc/containerd/config.toml").items():
        made, complaint = dumped(programs, path, content)
        assert complaint == "", node
        values = dict(leaves(made))
        for place, value in leaves(tomllib.loads(content)):
            assert values[place] == value, place
            assert place in known, place


@pytest.mark.programs
def test_containerd_would_complain_about_an_unknown_key(build: Build, programs: Programs, tmp_path: Path) -> None:
    content = texts(build, "/etc/containerd/config.toml")["cp1"]
    _, complaint = dumped(programs, tmp_path / "config.toml", content.replace("restrict_oom_score_adj", "restrict_oom"))
    assert "unknown key" in complaint


def test_the_runtime_is_what_the_nodes_kernel_allows(build: Build, plan: ClusterPlan) -> None:
    for node in plan.kubelets:
        content = tomllib.loads(texts(build, "/etc/containerd/config.toml")[node.name])
        runtime = content["plugins"]["io.containerd.cri.v1.runtime"]
        options = runtime["containerd"]["runtimes"]["runc"]["options"]
        assert options["SystemdCgroup"] is (node.runtime.cgroup_driver == "systemd")
        assert runtime["restrict_oom_score_adj"] is node.runtime.restrict_oom_score
        sandbox = content["plugins"]["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"]
        assert sandbox in {image.reference for image in build.nodes[0].images}
        unit = texts(build, "/etc/systemd/system/containerd.service")[node.name]
        assert f"\nLimitNOFILE={node.runtime.file_limit}\n" in unit


# --- the network of pods


@pytest.mark.programs
def test_a_pod_gets_an_address_out_of_each_of_its_nodes_ranges(
    build: Build, plan: ClusterPlan, programs: Programs, tmp_path: Path
) -> None:
    for node in plan.kubelets:
        content = json.loads(texts(build, "/etc/cni/net.d/10-kharden.conflist")[node.name])
        bridge = content["plugins"][0]
        network = {"cniVersion": content["cniVersion"], "name": content["name"], **bridge}
        # host-local is what the bridge plugin asks for addresses; its notes go below the test's own folder.
        network["ipam"] = {**bridge["ipam"], "dataDir": str(tmp_path / node.name)}
        added = run(
            programs[bridge["ipam"]["type"]],
            text=json.dumps(network),
            CNI_COMMAND="ADD",
            CNI_PATH=str(tmp_path),
            CNI_CONTAINERID="it",
            CNI_IFNAME="eth0",
            # It never looks at the pod's namespace, but wants one to be named.
            CNI_NETNS="/proc/self/ns/net",
            CNI_NETNS_OVERRIDE="1",
        )
        assert added.returncode == 0, added.stdout
        addresses = [ip_interface(each["address"]) for each in json.loads(added.stdout)["ips"]]
        assert [address.network for address in addresses] == list(node.pod_ranges)


@pytest.mark.programs
def test_every_plugin_that_is_named_is_brought_and_speaks_this_version(
    build: Build, plan: ClusterPlan, programs: Programs, tmp_path: Path
) -> None:
    names = {node.name for node in plan.kubelets}
    for node in (one for one in build.nodes if one.node in names):
        content = json.loads(texts(build, "/etc/cni/net.d/10-kharden.conflist")[node.node])
        named = [plugin["type"] for plugin in content["plugins"]]
        named += [plugin["ipam"]["type"] for plugin in content["plugins"] if "ipam" in plugin]
        assert {f"/opt/cni/bin/{name}" for name in named} <= {program.path for program in node.programs}
        for name in named:
            answer = run(programs[name], text="{}", CNI_COMMAND="VERSION", CNI_PATH=str(tmp_path))
            assert content["cniVersion"] in json.loads(answer.stdout)["supportedVersions"]


# --- haproxy


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of a real authority: haproxy reads the file that its configuration names."""
    folder = tmp_path_factory.mktemp("authority")
    identities, _ = load_or_create_identity({"HOME": str(folder)}, create=STORES)
    plan = planned(GOLDEN / "lab/cluster.yaml")
    secrets, _ = load_or_create(plan, folder / "secrets", identities, datetime.now(UTC))
    (folder / "ca.crt").write_bytes(secrets.authority)
    return folder / "ca.crt"


def haproxy(authority: Path, content: str) -> subprocess.CompletedProcess[str]:
    """What `haproxy -c` says, as the node asks it, of a configuration that names this authority's file."""
    program = own_program("haproxy")
    path = authority.with_name("haproxy.cfg")
    moved = content.replace("/etc/haproxy/kubernetes-ca.crt", str(authority))
    # The package's own user is looked up while it reads: where only the program is, whoever runs the test will do.
    moved = re.sub(r"^    (user|group) haproxy\n", "", moved, flags=re.MULTILINE)
    path.write_text(moved, encoding="utf-8")
    return run(program, "-c", "-q", "-f", path)


@pytest.mark.programs
def test_haproxy_takes_its_configuration(build: Build, authority: Path) -> None:
    for node, content in texts(build, "/etc/haproxy/haproxy.cfg").items():
        done = haproxy(authority, content)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), node


@pytest.mark.programs
def test_haproxy_would_not_take_something_else(build: Build, authority: Path) -> None:
    content = texts(build, "/etc/haproxy/haproxy.cfg")["cp1"]
    assert haproxy(authority, content.replace("balance leastconn", "balance least")).returncode != 0
    assert haproxy(authority, content.replace("check-ssl", "check-tls")).returncode != 0


def test_every_balancer_leads_to_all_control_planes_and_checks_who_they_are(build: Build, plan: ClusterPlan) -> None:
    hosts = {node.name: f"[{node.address}]" if node.address.version == 6 else node.address for node in plan.nodes}
    for content in texts(build, "/etc/haproxy/haproxy.cfg").values():
        servers = re.findall(r"^    server (\S+) (\S+)$", content, flags=re.MULTILINE)
        assert servers == [(node.name, f"{hosts[node.name]}:6443") for node in plan.control_planes]
        assert "verify required ca-file /etc/haproxy/kubernetes-ca.crt verifyhost kubernetes" in content
        assert re.findall(r"^    bind (.*)$", content, flags=re.MULTILINE) == ["127.0.0.1:7443"]


# --- sshd


SSHD_DROP_IN = "/etc/ssh/sshd_config.d/00-kharden.conf"


def sshd(folder: Path, content: str) -> subprocess.CompletedProcess[str]:
    """What `sshd -T` makes of the drop-in alone; it wants a host key, and the user that its package makes."""
    program = own_program("sshd")
    if "sshd" not in {user.pw_name for user in pwd.getpwall()}:
        pytest.skip("needs the user sshd: apt-get install openssh-server")
    key, config = folder / "key", folder / "sshd_config"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    config.write_text(content, encoding="utf-8")
    place = "user=root,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22"
    return run(*_with_its_folder(), program, "-T", "-h", key, "-f", config, "-C", place)


def _with_its_folder() -> tuple[str, ...]:
    """What gives a command the folder that sshd's unit makes when it starts, where nobody has started it.

    It is the command's alone: tests that run at the same time would take each other's away.
    """
    if Path("/run/sshd").exists():
        return ()
    if os.geteuid() != 0:
        pytest.skip("needs /run/sshd: start sshd, or be root")
    script = 'mount -t tmpfs -o mode=755 tmpfs /run && mkdir -m 755 /run/sshd && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, "sh")


@pytest.mark.programs
def test_sshd_takes_its_settings_and_would_not_take_something_else(build: Build, tmp_path: Path) -> None:
    for node, content in texts(build, SSHD_DROP_IN).items():
        done = sshd(tmp_path, content)
        assert done.returncode == 0, (node, done.stderr)
        found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
        for entry in (control("sshd-keys-only"), control("sshd-forwarding-off"), control("sshd-limits")):
            wanted = {check.name: check.value for check in entry.checks if isinstance(check, SshdSetting)}
            assert wanted == {name: found[name] for name in wanted}
        for check in control("sshd-algorithms").checks:
            assert isinstance(check, SshdWithin)
            assert set(found[check.name].split(",")) <= set(check.items)
    assert sshd(tmp_path, content.replace("MaxAuthTries", "MaxAuthTrials")).returncode != 0


def test_root_logs_in_by_ssh_only_where_the_plan_does(build: Build, plan: ClusterPlan) -> None:
    users = {node.name: node.ssh.user for node in plan.nodes}
    for node, content in texts(build, SSHD_DROP_IN).items():
        (line,) = re.findall(r"^PermitRootLogin (.*)$", content, flags=re.MULTILINE)
        assert line == ("prohibit-password" if users[node] == "root" else "no")


# --- systemd


@pytest.mark.programs
def test_journald_reads_our_drop_in_after_its_own_file(build: Build, tmp_path: Path) -> None:
    """As the collector asks, of a folder that has this machine's own file and ours."""
    path = "/etc/systemd/journald.conf.d/90-kharden.conf"
    program = own_program("systemd-analyze")
    for node, content in texts(build, path).items():
        root = tmp_path / node
        (root / "etc/systemd/journald.conf.d").mkdir(parents=True)
        (root / "etc/systemd/journald.conf").write_text("[Journal]\nStorage=volatile\n", encoding="utf-8")
        (root / path.lstrip("/")).write_text(content, encoding="utf-8")
        done = run(program, "cat-config", f"--root={root}", "systemd/journald.conf")
        assert done.returncode == 0, done.stderr
        assert journal.settings(done.stdout) == {
            "Storage": "persistent",
            "Compress": "yes",
            "SystemMaxUse": "1G",
            "SystemMaxFileSize": "128M",
            "RuntimeMaxUse": "128M",
        }


def verified(folder: Path, units: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What `systemd-analyze verify` says of units; the programs that they start are there, so that only units count."""
    program = own_program("systemd-analyze")
    stub = folder / "stub"
    stub.write_text("#!/bin/sh\n", encoding="utf-8")
    stub.chmod(0o755)
    for name, content in units.items():
        moved = re.sub(r"^(Exec\w+=)\S+", rf"\g<1>{stub}", content, flags=re.MULTILINE)
        (folder / name).write_text(moved, encoding="utf-8")
    return run(program, "verify", "--man=no", "--recursive-errors=no", *(folder / name for name in units))


def units_of(build: Build, node: str) -> dict[str, str]:
    files = next(each.files for each in build.nodes if each.node == node)
    prefix = "/etc/systemd/system/"
    return {file.path.removeprefix(prefix): file.content.decode() for file in files if file.path.startswith(prefix)}


@pytest.mark.programs
@pytest.mark.parametrize("node", ["cp1", "w1"])
def test_systemd_takes_every_unit(build: Build, tmp_path: Path, node: str) -> None:
    units = units_of(build, node)
    assert {"containerd.service", "kubelet.service", "kharden-routes.service"} <= units.keys()
    done = verified(tmp_path, units)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.programs
def test_systemd_takes_the_unit_of_etcd(tmp_path: Path) -> None:
    plan = planned(GOLDEN / "etcd/cluster.yaml")
    units = units_of(rendered(plan), "etcd1")
    assert units.keys() == {"etcd.service", "kharden-firewall.service", "kharden-users.service"}
    done = verified(tmp_path, units)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    wrong = {name: text.replace("ProtectSystem=strict", "ProtectSystem=strictly") for name, text in units.items()}
    assert verified(tmp_path, wrong).stderr


@pytest.mark.programs
@pytest.mark.parametrize("change", [("Restart=always", "Restarts=always"), ("Type=notify", "Type=notified")])
def test_systemd_would_not_take_something_else(build: Build, tmp_path: Path, change: tuple[str, str]) -> None:
    units = {name: content.replace(*change) for name, content in units_of(build, "w1").items()}
    assert verified(tmp_path, units).stderr


def test_every_route_of_the_plan_is_set_and_every_stale_one_goes_first(build: Build, plan: ClusterPlan) -> None:
    for node in plan.kubelets:
        commands = re.findall(
            r"^ExecStart=/usr/sbin/ip (.*)$", units_of(build, node.name)["kharden-routes.service"], re.MULTILINE
        )
        families = {network.version for network in plan.pod_cidrs}
        flushes = ["route flush proto 107"] + (["-6 route flush proto 107"] if 6 in families else [])
        assert commands == flushes + [
            f"route replace {route.destination} via {route.via} proto 107" for route in node.routes
        ]


# --- the kernel


def test_sysctls_are_of_every_family_of_the_cluster_and_only_of_ones_own_kernel(
    build: Build, plan: ClusterPlan
) -> None:
    families = {network.version for network in plan.pod_cidrs}
    for node in plan.nodes:
        lines = texts(build, "/etc/sysctl.d/90-kharden.conf")[node.name].splitlines()
        values = dict(line.split(" = ") for line in lines if line and not line.startswith("#"))
        forwards = "1" if node.kubelet else "0"
        assert values["net.ipv4.ip_forward"] == forwards
        assert values.get("net.ipv6.conf.all.forwarding") == (forwards if 6 in families else None)
        # By IPv6 an interface goes by itself, also where the cluster doesn't use it and where the kernel may lack it.
        assert {values[f"-net.ipv6.conf.{name}.accept_redirects"] for name in ("all", "default", "*")} == {"0"}
        own = {name for name in values if not name.removeprefix("-").startswith("net.")}
        assert bool(own) is (node.runtime.kernel_settings and node.kubelet)
        modules = texts(build, "/etc/modules-load.d/kharden.conf")
        assert (node.name in modules) is (node.kubelet and not plan.lab)


@pytest.mark.programs
def test_the_kernel_has_every_sysctl(build: Build, plan: ClusterPlan) -> None:
    for node in plan.nodes:
        lines = texts(build, "/etc/sysctl.d/90-kharden.conf")[node.name].splitlines()
        names = {line.split(" = ")[0] for line in lines if line and line[0] not in "#-"}  # those may miss
        if not Path("/proc/sys/net/bridge").exists():  # of br_netfilter, a module
            names = {name for name in names if not name.startswith("net.bridge.")}
        missing = {name for name in names if not any(Path("/proc/sys").glob(name.replace(".", "/")))}
        assert not missing
