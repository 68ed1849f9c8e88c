"""What modules read of a node: processes, sockets, kernel parameters, units."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playbooks.module_utils.kharden import kernel, processes, restarts, sockets, static_pods, units
    from playbooks.module_utils.kharden.errors import NodeError
else:
    from ansible.module_utils.kharden import kernel, processes, restarts, sockets, static_pods, units
    from ansible.module_utils.kharden.errors import NodeError

MANIFEST = """\
apiVersion: v1
kind: Pod
spec:
  containers:
  - command:
    - kube-apiserver
    livenessProbe:
      failureThreshold: 8
      httpGet:
        host: 10.77.0.11
        path: /livez
        port: {liveness}
        scheme: HTTPS
      timeoutSeconds: 15
    name: kube-apiserver
    ports:
    - containerPort: 6443
      name: probe-port
      protocol: TCP
{startup}    volumeMounts:
    - mountPath: /etc/ssl/certs
      name: ca-certs
"""
STARTUP = """\
    startupProbe:
      failureThreshold: 24
      httpGet:
        host: 127.0.0.1
        path: /readyz
        port: probe-port
        scheme: HTTP
"""


@given(st.text(max_size=15), st.integers(0, 2**63))
def test_a_start_time_is_found_whatever_the_process_is_called(name: str, start: int) -> None:
    fields = ["S", *["1"] * 18, str(start), *["0"] * 30]
    assert processes.start_of(f"42 ({name}) {' '.join(fields)}") == start


def test_this_very_process_is_seen_with_its_names() -> None:
    mine = processes.process(os.getpid())
    assert mine in set(processes.processes())
    assert mine is not None
    assert Path(sys.executable).resolve().name in mine.names
    assert mine.on_node_network
    assert not mine.in_pod


def test_a_process_that_ended_is_none() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert processes.process(child.pid) is None


def test_a_long_name_is_not_cut_and_a_deleted_program_keeps_its_name(tmp_path: Path) -> None:
    program = tmp_path / "kube-controller-manager"
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([str(program), "60"]) as child:
        program.unlink()
        found = processes.process(child.pid)
        child.kill()
    assert found is not None
    assert "kube-controller-manager" in found.names


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        ("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podab.slice/cri-containerd-1.scope", True),
        ("5:memory:/kubepods/burstable/podab/1\n1:name=systemd:/kubepods/burstable/podab/1", True),
        ("0::/../kubepods/podab/1", True),
        ("0::/system.slice/kubepods.service", False),
        ("0::/user.slice/not-kubepods/x", False),
        ("", False),
    ],
)
def test_a_pods_cgroup_is_known_with_either_driver(cgroup: str, expected: bool) -> None:  # noqa: FBT001 - a parameter
    assert processes.is_pod_cgroup(cgroup) is expected


def test_a_program_of_that_name_outside_of_pods_is_no_static_pod(tmp_path: Path) -> None:
    program = tmp_path / "kube-scheduler"
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([str(program), "60"]) as child:
        assert static_pods.running("kube-scheduler") == frozenset()
        child.kill()


def test_the_startup_probe_is_read_and_its_named_port_resolved() -> None:
    manifest = MANIFEST.format(liveness="probe-port", startup=STARTUP)
    assert static_pods.probe_of(manifest) == static_pods.Probe("http", "127.0.0.1", 6443, "/readyz")


def test_without_one_it_is_the_liveness_probe() -> None:
    expected = static_pods.Probe("https", "10.77.0.11", 6443, "/livez")
    assert static_pods.probe_of(MANIFEST.format(liveness="probe-port", startup="")) == expected
    assert static_pods.probe_of(MANIFEST.format(liveness="6443", startup="")) == expected


@pytest.mark.parametrize("manifest", ["", "kind: Pod\n", MANIFEST.format(liveness="other", startup="")])
def test_a_manifest_without_a_probe_has_none(manifest: str) -> None:
    assert static_pods.probe_of(manifest) is None


class _Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 500)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def health() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Health) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_probe_succeeds_only_with_a_good_status(health: int) -> None:
    assert static_pods.answers(static_pods.Probe("http", "127.0.0.1", health, "/livez"))
    assert not static_pods.answers(static_pods.Probe("http", "127.0.0.1", health, "/readyz"))
    assert not static_pods.answers(static_pods.Probe("https", "127.0.0.1", health, "/livez"))


def test_nobody_there_is_no_answer() -> None:
    with socket.socket() as silent:  # bound, it stays closed: nobody else can listen there
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert not static_pods.answers(static_pods.Probe("http", "127.0.0.1", port, "/livez"))


def test_waiting_for_a_pod_that_never_starts_says_so() -> None:
    with pytest.raises(NodeError, match="static pod no-such-pod: 0 s on, its process isn't there"):
        static_pods.await_new("no-such-pod", frozenset(), None, 0)


def process_of(pid: int) -> processes.Process:
    return processes.Process(pid, pid, frozenset({"it"}), in_pod=True, on_node_network=True)


def test_how_long_a_pod_does_not_answer_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """From when the old process stops answering, although it still runs, until the new one answers."""
    old, new = frozenset({process_of(1)}), frozenset({process_of(2)})
    looks = iter([(old, True), (old, True), (old, False), (frozenset(), False), (new, False), (new, True)])
    clock = {"now": 0.0}
    seen: list[tuple[frozenset[processes.Process], bool]] = []

    def running(_name: str) -> frozenset[processes.Process]:
        seen.append(next(looks))
        return seen[-1][0]

    monkeypatch.setattr(static_pods, "running", running)
    monkeypatch.setattr(static_pods, "answers", lambda _probe: seen[-1][1])
    monkeypatch.setattr("time.monotonic", lambda: clock["now"])
    monkeypatch.setattr("time.sleep", lambda _seconds: clock.update(now=clock["now"] + 1))
    probe = static_pods.Probe("https", "127.0.0.1", 1, "/livez")
    assert static_pods.await_new("it", old, probe, 60) == (new, 3.0)


def test_how_long_something_was_away_is_kept_beside_what_waits(tmp_path: Path) -> None:
    pending = str(tmp_path / "pending.json")
    assert restarts.away(pending, "static-pod/etcd") is None
    restarts.remember(pending, "static-pod/etcd", 3.5)
    restarts.remember(pending, "static-pod/kube-apiserver", 7)
    restarts.remember(pending, "static-pod/etcd", 2.5)
    assert restarts.away(pending, "static-pod/etcd") == 2.5
    assert restarts.away(pending, "static-pod/kube-apiserver") == 7.0
    assert (tmp_path / "restarts.json").stat().st_mode & 0o7777 == 0o600


def listed(own: socket.socket) -> sockets.Listener:
    """A socket of ours as it is listed; others on this machine may have the same port at another address."""
    (mine,) = [one for one in sockets.listeners() if one.inode == os.fstat(own.fileno()).st_ino]
    return mine


def test_who_listens_is_found_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        mine = listed(server)
        assert (mine.address, mine.port, mine.protocol) == ("127.0.0.1", server.getsockname()[1], "tcp")
        holder = sockets.holders({mine.inode})[mine.inode]
        assert holder.pid == os.getpid()
    assert not [one for one in sockets.listeners() if one.inode == mine.inode]


def test_who_closes_another_descriptor_meanwhile_still_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "71" / "fd"
    folder.mkdir(parents=True)
    for name in ("3", "4", "6", "7"):
        (folder / name).touch()  # what is no link any more can't be read as one
    (folder / "5").symlink_to("socket:[4711]")
    me = process_of(os.getpid())
    monkeypatch.setattr(sockets, "process", lambda pid, _proc: me if pid == 71 else None)
    assert sockets.holders({4711}, tmp_path) == {4711: me}


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this kernel has no IPv6")
def test_an_ipv6_listener_is_read_in_the_right_order_of_bytes() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        assert listed(server).address == "::1"


def test_a_bound_udp_socket_is_listed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        mine = listed(bound)
        assert (mine.port, mine.protocol) == (bound.getsockname()[1], "udp")


def test_local_addresses_are_those_of_interfaces() -> None:
    text = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.77.0.0/24 2 0 2
        |-- 10.77.0.0
           /24 link UNICAST
        |-- 10.77.0.11
           /32 host LOCAL
        |-- 10.77.0.255
           /32 link BROADCAST
"""
    assert sockets.parse_fib_trie(text) == {"10.77.0.11"}
    assert sockets.parse_if_inet6("00000000000000000000000000000001 01 80 10 80       lo\n") == {"::1"}
    assert "127.0.0.1" in sockets.addresses()


# In a network namespace of its own: a router that speaks once, and the routes before and after the kernel forwards.
ADVERTISED = """
import socket, struct, subprocess, time
from pathlib import Path

settings = Path("/proc/sys/net/ipv6/conf")
(settings / "default/accept_dad").write_text("0")
subprocess.run(["ip", "link", "add", "name", "in0", "type", "veth", "peer", "name", "out0"], check=True)
(settings / "in0/accept_ra_from_local").write_text("1")
for name in ("in0", "out0"):
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
table = Path("/proc/net/ipv6_route")

def told():
    return any(line.startswith("0" * 32 + " 00") and line.split()[4].strip("0") for line in table.open())

with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as router:
    router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    for attempt in range(600):
        try:
            router.sendto(struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1%out0", 0))
        except OSError:
            pass
        if told():
            break
        time.sleep(0.1)
print(table.read_text(), end="---\\n")
(settings / "all/forwarding").write_text("1")
print(table.read_text(), end="")
"""


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/net/if_inet6").exists(), reason="needs root and IPv6")
def test_a_route_of_a_routers_word_is_known_and_goes_when_the_kernel_forwards(tmp_path: Path) -> None:
    argv = ["unshare", "--net", sys.executable, "-c", ADVERTISED]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout
    before, _, after = shown.partition("---\n")
    assert sockets.parse_ipv6_route(before) == ["in0"]
    assert sockets.parse_ipv6_route(after) == []
    (tmp_path / "net").mkdir()
    (tmp_path / "net/ipv6_route").write_text(before)
    setting = tmp_path / "sys/net/ipv6/conf/in0/accept_ra"
    setting.parent.mkdir(parents=True)
    for value, found in (("0", []), ("1", ["in0"]), ("2", [])):
        setting.write_text(f"{value}\n")
        assert sockets.advertised(tmp_path) == found


def test_kernel_parameters_are_read_as_sysctl_does() -> None:
    texts = [
        "# comment\n; another\n\nnet.ipv4.ip_forward = 0\n-vm.overcommit_memory=1\n",
        "net/ipv4/conf/eth0.1/rp_filter = 1\nnet.ipv4.ip_forward=1\nnet.ipv4.ip_local_port_range = 1\t2\n",
    ]
    found = kernel.parameters(texts)
    assert {path: parameter.value for path, parameter in found.items()} == {
        "net/ipv4/ip_forward": "1",
        "vm/overcommit_memory": "1",
        "net/ipv4/conf/eth0.1/rp_filter": "1",
        "net/ipv4/ip_local_port_range": "1 2",
    }
    assert found["vm/overcommit_memory"].optional
    assert not found["net/ipv4/ip_forward"].optional
    assert "net/ipv4/conf/eth0.1/rp_filter" in kernel.parameters(["net.ipv4.conf.eth0/1.rp_filter = 1"])


def _interfaces(root: Path, **values: str) -> None:
    for name, value in values.items():
        folder = root / "net/ipv4/conf" / name
        folder.mkdir(parents=True)
        (folder / "send_redirects").write_text(f"{value}\n")


def test_a_line_for_every_interface_stands_for_those_that_are_there_but_for_named_ones(tmp_path: Path) -> None:
    _interfaces(tmp_path, all="1", default="1", eth0="1", **{"eth0.5": "0"})
    text = "net.ipv4.conf.all.send_redirects = 1\nnet.ipv4.conf.*.send_redirects = 0\n-net.ipv6.conf.*.accept_ra = 0\n"
    found = kernel.parameters([text], tmp_path)
    assert {path: (one.value, one.may_miss) for path, one in found.items()} == {
        "net/ipv4/conf/default/send_redirects": ("0", True),
        "net/ipv4/conf/eth0/send_redirects": ("0", True),
        "net/ipv4/conf/eth0.5/send_redirects": ("0", True),
        "net/ipv4/conf/all/send_redirects": ("1", False),
    }
    differing = [one for one in found.values() if kernel.read(one, tmp_path) != one.value]
    assert [one.path.split("/")[3] for one in differing] == ["default", "eth0"]
    for one in differing:
        kernel.write(one, tmp_path)
    again = kernel.parameters([text], tmp_path).values()
    assert [one for one in again if kernel.read(one, tmp_path) != one.value] == []


def test_an_interface_that_went_meanwhile_is_no_fault_but_one_that_refuses_is(tmp_path: Path) -> None:
    _interfaces(tmp_path, veth1="1", veth2="1")
    found = kernel.parameters(["net.ipv4.conf.*.send_redirects = 0"], tmp_path)
    shutil.rmtree(tmp_path / "net/ipv4/conf/veth1")
    gone, refusing = found.values()
    assert kernel.read(gone, tmp_path) is None
    kernel.write(gone, tmp_path)
    (tmp_path / refusing.path).unlink()
    (tmp_path / refusing.path).mkdir()
    with pytest.raises(NodeError, match="veth2/send_redirects: should be '0'"):
        kernel.write(refusing, tmp_path)


@pytest.mark.parametrize(
    "line", ["kernel.panic", "net.ipv4.conf.veth*.rp_filter = 1", "net.*.a?b = 1", "net/../../etc/x = 1", "= 1"]
)
def test_a_line_that_kharden_never_writes_is_refused(line: str) -> None:
    with pytest.raises(NodeError, match="doesn't write lines like"):
        kernel.parameters([line])


def test_a_parameter_is_written_and_read_back(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/panic").write_text("0\n")
    parameter = kernel.Parameter("kernel/panic", "10", optional=False)
    kernel.write(parameter, tmp_path)
    assert kernel.read(parameter, tmp_path) == "10"


def test_a_parameter_that_the_kernel_lacks_is_named_unless_it_is_optional(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="kernel/none"):
        kernel.write(kernel.Parameter("kernel/none", "1", optional=False), tmp_path / "missing")
    kernel.write(kernel.Parameter("kernel/none", "1", optional=True), tmp_path / "missing")


def test_real_parameters_of_this_kernel_can_be_read() -> None:
    assert kernel.read(kernel.Parameter("kernel/ostype", "", optional=False)) == "Linux"


def test_module_files_have_comments() -> None:
    assert kernel.modules("# x\n\noverlay\n ; y\nbr_netfilter\n") == ["overlay", "br_netfilter"]


def test_a_modules_dash_is_an_underscore(tmp_path: Path) -> None:
    (tmp_path / "br_netfilter").mkdir()
    assert kernel.is_loaded("br-netfilter", tmp_path)
    assert not kernel.is_loaded("overlay", tmp_path)


SHOWN = """\
NRestarts=2
MainPID=71
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
NeedDaemonReload=yes
ActiveEnterTimestampMonotonic=81234567

LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
NeedDaemonReload=no
ActiveEnterTimestampMonotonic=0
"""


def test_units_are_read_in_the_order_that_was_asked() -> None:
    found = units.parse(["containerd.service", "none.service"], SHOWN)
    assert found["containerd.service"] == units.Unit(
        *("containerd.service", "loaded", "active", "running", "enabled"),
        stale=True,
        since=81234567,
        pid=71,
        restarts=2,
    )
    assert found["none.service"].load == "not-found"
    assert not found["none.service"].runs


def test_a_unit_that_is_not_told_of_is_not_invented() -> None:
    with pytest.raises(NodeError, match="every unit"):
        units.parse(["a.service", "b.service", "c.service"], SHOWN)


@pytest.mark.parametrize(
    ("form", "good"),
    [
        ("containerd.service", True),
        ("getty@tty1.service", True),
        ("daemon-reload", True),
        ("static-pod/etcd", True),
        ("static-pod/-x", False),
        ("static-pod/", False),
        ("-x.service", False),
        ("a b.service", False),
        ("a\n.service", False),
        ("kubelet", False),
        (7, False),
    ],
)
def test_what_may_restart_has_a_form(form: object, good: bool) -> None:  # noqa: FBT001 - a parameter
    assert restarts.is_restart(form) is good


def test_pending_restarts_are_added_and_struck_off(tmp_path: Path) -> None:
    path = str(tmp_path.resolve() / "pending.json")
    assert restarts.pending(path) == frozenset()
    restarts.add(path, ["b.service", "sysctl"])
    restarts.add(path, ["a.service"])
    assert restarts.pending(path) == {"a.service", "b.service", "sysctl"}
    inode = Path(path).stat().st_ino
    restarts.add(path, ["sysctl"])
    restarts.strike(path, ["c.service"])
    assert Path(path).stat().st_ino == inode
    restarts.strike(path, ["sysctl", "a.service"])
    assert restarts.pending(path) == {"b.service"}
    Path(path).write_text("{")
    with pytest.raises(NodeError, match="move it away"):
        restarts.pending(path)
