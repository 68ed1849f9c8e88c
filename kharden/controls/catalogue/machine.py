"""The machine: programs, kernel settings, units."""

from __future__ import annotations

from kharden.controls.checks import (
    FolderContents,
    InstalledPrograms,
    InterfaceSetting,
    JournalBounded,
    JournalKept,
    JournalSetting,
    PackagedPrograms,
    RunningPrograms,
    SysctlValue,
    UnitState,
)
from kharden.controls.model import CONTROL_PLANE, ETCD, EVERYWHERE, MEMBER, NODES, Control

_REPLACE = "find out who changed it, then put the right one back with `kharden apply`"
_BIN = "/usr/local/bin"
# "all" alone decides neither (ip-sysctl.rst): an interface sends redirects where it or "all" does, one that doesn't
# forward takes them where either does, and by IPv6 each goes by itself.
_REDIRECTS = (
    InterfaceSetting("net.ipv4.conf.*.accept_redirects", "0"),
    InterfaceSetting("net.ipv4.conf.*.send_redirects", "0"),
    InterfaceSetting("net.ipv6.conf.*.accept_redirects", "0", required=False),
)
_CNI = ("bridge", "host-local", "loopback", "portmap")

CONTROLS = (
    Control(
        "running-programs-control-plane",
        "The control plane's running programs are the ones that the lock names",
        "critical",
        CONTROL_PLANE,
        (RunningPrograms(("kube-apiserver", "kube-controller-manager", "kube-scheduler")),),
        _REPLACE,
    ),
    Control(
        "running-programs-etcd",
        "The etcd that runs is the one that the lock names",
        "critical",
        MEMBER,
        (RunningPrograms(("etcd",)),),
        _REPLACE,
    ),
    Control(
        "running-programs",
        "Every node's running programs are the ones that the lock names",
        "critical",
        NODES,
        (
            RunningPrograms(("containerd", "containerd-shim-runc-v2", "kubelet", "kube-proxy")),
            RunningPrograms(("coredns", "pause"), required=False),
        ),
        _REPLACE,
    ),
    Control(
        "installed-programs",
        "Installed programs are the ones that the lock names",
        "critical",
        NODES,
        (
            InstalledPrograms(
                (
                    *(
                        f"{_BIN}/{name}"
                        for name in ("kubeadm", "kubelet", "kubectl", "containerd", "containerd-shim-runc-v2", "ctr")
                    ),
                    *(f"/opt/cni/bin/{name}" for name in _CNI),
                )
            ),
        ),
        _REPLACE,
    ),
    Control(
        "packaged-programs",
        "Programs of Debian packages are what the packages brought, also those that run",
        "critical",
        NODES,
        (PackagedPrograms(tuple(f"/usr/sbin/{name}" for name in ("haproxy", "runc", "sshd", "nft", "conntrack"))),),
        "restart what still runs an older file; else find out who changed it, then install its package again",
    ),
    Control(
        "packaged-programs-etcd",
        "On a machine of etcd's own, programs of Debian packages are what the packages brought, also those that run",
        "critical",
        ETCD,
        (PackagedPrograms(("/usr/sbin/sshd", "/usr/sbin/nft")),),
        "restart what still runs an older file; else find out who changed it, then install its package again",
    ),
    Control(
        "network-programs",
        "Nothing but the named programs lies where the runtime looks for network plugins",
        "high",
        NODES,
        (FolderContents("/opt/cni/bin", _CNI),),
        _REPLACE,
        networks=("routed",),
    ),
    Control(
        "installed-programs-etcd",
        "etcd's tools are the ones that the lock names",
        "high",
        MEMBER,
        (InstalledPrograms((f"{_BIN}/etcdctl", f"{_BIN}/etcdutl")),),
        _REPLACE,
    ),
    Control(
        "sysctl-network",
        "The kernel forwards for pods, and neither sends nor takes redirects or source routes",
        "medium",
        NODES,
        (
            SysctlValue("net.ipv4.ip_forward", "1"),
            SysctlValue("net.ipv4.conf.all.accept_redirects", "0"),
            SysctlValue("net.ipv4.conf.all.send_redirects", "0"),
            SysctlValue("net.ipv4.conf.all.accept_source_route", "0"),
            SysctlValue("net.ipv4.tcp_syncookies", "1"),
            SysctlValue("net.bridge.bridge-nf-call-iptables", "1"),
            SysctlValue("net.ipv6.conf.all.forwarding", "1", 6),
            SysctlValue("net.ipv6.conf.all.accept_redirects", "0", 6),
            SysctlValue("net.ipv6.conf.all.accept_source_route", "0", 6),
            SysctlValue("net.ipv6.conf.default.accept_ra", "0", 6),
            SysctlValue("net.bridge.bridge-nf-call-ip6tables", "1", 6),
            *_REDIRECTS,
        ),
    ),
    Control(
        "sysctl-network-etcd",
        "The kernel of a machine of etcd's own forwards nothing, and takes neither redirects nor source routes",
        "medium",
        ETCD,
        (
            SysctlValue("net.ipv4.ip_forward", "0"),
            SysctlValue("net.ipv4.conf.all.accept_redirects", "0"),
            SysctlValue("net.ipv4.conf.all.send_redirects", "0"),
            SysctlValue("net.ipv4.conf.all.accept_source_route", "0"),
            SysctlValue("net.ipv4.tcp_syncookies", "1"),
            SysctlValue("net.ipv6.conf.all.forwarding", "0", 6),
            SysctlValue("net.ipv6.conf.all.accept_redirects", "0", 6),
            SysctlValue("net.ipv6.conf.all.accept_source_route", "0", 6),
            *_REDIRECTS,
        ),
    ),
    Control(
        "sysctl-kernel",
        "The kernel settings that the kubelet insists on",
        "medium",
        NODES,
        (
            SysctlValue("vm.overcommit_memory", "1"),
            SysctlValue("vm.panic_on_oom", "0"),
            SysctlValue("kernel.panic", "10"),
            SysctlValue("kernel.panic_on_oops", "1"),
            SysctlValue("kernel.keys.root_maxkeys", "1000000"),
            SysctlValue("kernel.keys.root_maxbytes", "25000000"),
        ),
    ),
    Control(
        "units-running",
        "Kubelet, runtime and balancer run now and after a boot",
        "medium",
        NODES,
        tuple(UnitState(f"{name}.service") for name in ("kubelet", "containerd", "haproxy")),
    ),
    Control(
        "units-running-etcd",
        "On a machine of its own etcd runs now and after a boot",
        "medium",
        ETCD,
        (UnitState("etcd.service"),),
    ),
    Control(
        "journal-kept",
        "What services log is on the disk and outlives a boot",
        "medium",
        EVERYWHERE,
        (JournalSetting("Storage", "persistent"), JournalSetting("Compress", "yes"), JournalKept()),
    ),
    Control(
        "journal-bounded",
        "What services log can't fill the disk",
        "medium",
        EVERYWHERE,
        (
            JournalSetting("SystemMaxUse", "1G"),
            JournalSetting("SystemMaxFileSize", "128M"),
            JournalBounded(1024 + 2 * 128),
        ),
    ),
    Control(
        "pod-routes-running",
        "Routes to other nodes' pods are set now and after a boot",
        "medium",
        NODES,
        (UnitState("kharden-routes.service"),),
        networks=("routed",),
    ),
)
