"""What a node's base tree is made of: Debian packages and the few files that make it a lab node.

Whatever changes here gives the trees a new key, so that older ones are not used any more.
"""

from __future__ import annotations

# A minimal Debian plus what a node has: systemd as process 1, ssh and Python for the apply, and the programs that the
# kubelet, kube-proxy, containerd and the hardening call. Kubernetes' own programs come with the apply.
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "python3",
    "sudo",
    "iproute2",
    "iptables",
    "nftables",
    "conntrack",
    "ethtool",
    "socat",
    "kmod",
    "procps",
    "util-linux",
    "mount",
    "runc",
    "haproxy",
    "logrotate",
    "ca-certificates",
)

# There is no udev in a container, so systemd-networkd would wait for ever: plain commands set the address. The
# addresses are the node's own: /etc/kharden-lab/network.
NETWORK_UNIT = """\
[Unit]
Description=Address of this lab node
DefaultDependencies=no
After=local-fs.target systemd-sysctl.service
Before=network.target ssh.service
Wants=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
EnvironmentFile=/etc/kharden-lab/network
ExecStart=ip link set lo up
ExecStart=ip address replace ${ADDRESS} dev host0
ExecStart=ip link set host0 up
ExecStart=ip route replace default via ${GATEWAY}

[Install]
WantedBy=multi-user.target
"""

# Kubernetes' mount propagation needs shared mounts, and kubelets make groups of their own: systemd-nspawn mounts v1
# controllers read-only.
MOUNTS_UNIT = """\
[Unit]
Description=Mounts of this lab node as on a real machine
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=mount --make-rshared /
ExecStart=/usr/local/lib/kharden-lab/writable-cgroups

[Install]
WantedBy=sysinit.target
"""

WRITABLE_CGROUPS = """\
#!/bin/sh
# A read-only bind of a writable hierarchy, or a read-only mount: whichever it is here.
for controller in /sys/fs/cgroup/*/; do
  mountpoint -q "$controller" || continue
  mount -o remount,rw,bind "$controller" || mount -o remount,rw "$controller"
done
"""

FILES = {
    "etc/systemd/system/kharden-lab-network.service": (NETWORK_UNIT, 0o644),
    "etc/systemd/system/kharden-lab-mounts.service": (MOUNTS_UNIT, 0o644),
    "usr/local/lib/kharden-lab/writable-cgroups": (WRITABLE_CGROUPS, 0o755),
}
# By path: the unit that is enabled, or /dev/null for one that is masked. The host's file systems and devices are not
# the node's business, and there is no one at its console.
_UNITS = "etc/systemd/system"
LINKS = {
    f"{_UNITS}/multi-user.target.wants/kharden-lab-network.service": "../kharden-lab-network.service",
    f"{_UNITS}/sysinit.target.wants/kharden-lab-mounts.service": "../kharden-lab-mounts.service",
    f"{_UNITS}/systemd-udevd.service": "/dev/null",
    f"{_UNITS}/sys-kernel-debug.mount": "/dev/null",
    f"{_UNITS}/sys-kernel-tracing.mount": "/dev/null",
    f"{_UNITS}/console-getty.service": "/dev/null",
}
REMOVED = (
    # Debian starts haproxy with a configuration without any listener, which fails; the apply enables it with its own.
    f"{_UNITS}/*.wants/haproxy.service",
    # They would ask mirrors for updates that a node of the lab can't reach.
    f"{_UNITS}/*.wants/apt-daily*.timer",
    # What must not be shared by nodes, or is of no use without a network.
    "etc/ssh/ssh_host_*",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "var/cache/apt/archives/*.deb",
    "var/cache/apt/*.bin",
    "var/lib/apt/lists/*_*",
    "var/log/bootstrap.log",
)
