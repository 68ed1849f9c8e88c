# SPDX-License-Identifier: Apache-2.0
"""Ansible module: everything about a machine that would be in the way, told at once, before anything is changed."""

from __future__ import annotations

import ipaddress
import os
import platform
import shutil
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:  # the same files, where mypy finds them
    from collections.abc import Callable

    from playbooks.module_utils.kharden import etcd, sessions, sockets, versions
else:
    from ansible.module_utils.kharden import etcd, sessions, sockets, versions

DOCUMENTATION = r"""
module: preflight
short_description: Look whether a machine can become a node
description:
  - Compares the machine with what the plan expects of it and fails with every problem at once. It changes nothing.
  - An expectation that isn't given isn't checked.
version_added: "0.1.0"
author:
  - The kharden authors
options:
  expectations:
    description: What the machine must be like.
    type: dict
    required: true
    suboptions:
      addresses:
        description: Addresses that must be on its interfaces.
        type: list
        elements: str
      forwards_ipv6:
        description:
          - Whether the kernel is going to forward IPv6. It then drops what routers told it, so that must not be the
            way out of this machine.
        type: bool
      architecture:
        description: Of its processor, C(amd64) or C(arm64).
        type: str
      memory_mib:
        description: The least memory, in MiB.
        type: int
      cpus:
        description: The least number of processors that may be used.
        type: int
      disk_mib:
        description: Paths, each with the MiB that must be free where it lies or will lie.
        type: dict
      ports:
        description:
          - Ports that must be free, or held by one of C(programs), as dictionaries with C(port), C(programs) and
            C(protocol) (C(tcp) by default, or C(udp)).
        type: list
        elements: dict
      programs:
        description: Programs that must be found in the usual folders, each with the Debian package that has it.
        type: dict
      swap_allowed:
        description: Whether swap may be on.
        type: bool
      cgroup_version:
        description: Which versions of control groups will do, 1 and 2.
        type: list
        elements: int
      distribution:
        description: Which operating systems will do, each with C(id) and C(versions) as in os-release(5).
        type: list
        elements: dict
      clock:
        description: The controller's time in seconds since 1970. More than 60 seconds off is a problem.
        type: int
      prepared:
        description:
          - Whether this run makes the machine ready before it joins. One that isn't in the cluster yet has to be.
        type: bool
      kernel_features:
        description:
          - What the kernel must have, as C(module:NAME) (loaded, built in or loadable), C(filesystem:NAME),
            C(controller:NAME) (of control groups), C(lsm:NAME) or C(path:PATH).
        type: list
        elements: str
      ssh:
        description:
          - What the firewall will let in to sshd, C(port) and C(sources) (address ranges). The connection that this run
            came by must be among it.
        type: dict
      authorities:
        description:
          - Paths of CA certificates, each with the SHA-256 that the file must have where it is. Another one means that
            the node belongs to another cluster.
        type: dict
      local_etcd:
        description: Whether this control plane has a member of etcd of its own. One that was made otherwise stays so.
        type: bool
      kubernetes:
        description:
          - The C(version) of Kubernetes, and the digest of its C(kubelet). A member of the cluster that runs another
            minor version, or a newer one, is refused.
        type: dict
attributes:
  check_mode:
    description: The same as without it.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Look at the machine, change nothing
  preflight:
    expectations:
      addresses: [10.77.0.11]
      memory_mib: 1700
      cpus: 2
      disk_mib: {/var/lib/containerd: 5000}
      ports: [{port: 6443, programs: [kube-apiserver]}]
      cgroup_version: [2]
      kernel_features: ["module:overlay", "controller:memory"]
"""

RETURN = r"""
problems:
  description: What is in the way, and what to do about it.
  returned: always
  type: list
  elements: dict
  sample: [{what: "TCP port 6443 is held by nginx (process 712)", remedy: "stop nginx"}]
notes:
  description: What a person should know and what stops nobody.
  returned: always
  type: list
  elements: str
member:
  description: Whether kharden made this machine a node or a member of etcd of its cluster, or had it join, to the end.
  returned: always
  type: bool
dns:
  description: Whether kharden has installed the cluster's DNS from here.
  returned: always
  type: bool
stored:
  description: Whether a member of etcd has data here.
  returned: always
  type: bool
"""

_EXPECTATIONS = {
    "addresses": {"type": "list", "elements": "str"},
    "forwards_ipv6": {"type": "bool"},
    "architecture": {"type": "str"},
    "memory_mib": {"type": "int"},
    "cpus": {"type": "int"},
    "disk_mib": {"type": "dict"},
    "ports": {"type": "list", "elements": "dict"},
    "programs": {"type": "dict"},
    "swap_allowed": {"type": "bool"},
    "cgroup_version": {"type": "list", "elements": "int"},
    "distribution": {"type": "list", "elements": "dict"},
    "clock": {"type": "int"},
    "prepared": {"type": "bool"},
    "kernel_features": {"type": "list", "elements": "str"},
    "ssh": {"type": "dict"},
    "authorities": {"type": "dict"},
    "local_etcd": {"type": "bool"},
    "kubernetes": {"type": "dict"},
}
ARGUMENTS = {"expectations": {"type": "dict", "required": True, "options": _EXPECTATIONS}}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MIB = 1 << 20
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # uname(2)'s names
_CLOCK_TOLERANCE = 60  # seconds
# Written last, when init or join was done to its end.
_MARKERS = (Path("/var/lib/kharden/initialised"), Path("/var/lib/kharden/joined"))
_DNS_MARKER = Path("/var/lib/kharden/dns")
_MANIFESTS = Path("/etc/kubernetes/manifests")
_LOOPBACK = ("https://127.0.0.1", "https://[::1]")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is in the way, and what to do about it; each one line."""

    what: str
    remedy: str


def problems(expected: dict[str, Any]) -> list[Problem]:
    """Everything that isn't as `expected`."""
    checks: dict[str, Callable[[Any], list[Problem]]] = {
        "addresses": addresses,
        "forwards_ipv6": advertised_routes,
        "architecture": architecture,
        "memory_mib": memory,
        "cpus": cpus,
        "disk_mib": disk,
        "ports": ports,
        "programs": programs,
        "swap_allowed": swap,
        "cgroup_version": cgroup,
        "distribution": distribution,
        "clock": clock,
        "prepared": prepared,
        "kernel_features": kernel_features,
        "ssh": ssh,
        "authorities": authorities,
        "local_etcd": local_etcd,
        "kubernetes": kubernetes,
    }
    return [
        problem for name, check in checks.items() if expected[name] is not None for problem in check(expected[name])
    ]


def addresses(wanted: list[str]) -> list[Problem]:
    """Each address must be on an interface."""
    own = sockets.addresses()
    return [
        Problem(f"the address {address} is on no interface of this machine", "correct the address or the network")
        for address in wanted
        if str(ipaddress.ip_address(address)) not in own
    ]


def advertised_routes(forwards: bool) -> list[Problem]:  # noqa: FBT001 - called with the expectation's value, as all of these
    """A kernel that forwards takes no router's word but where it is told to (ip-sysctl, accept_ra)."""
    if not forwards:
        return []
    remedy = "set its address and route by hand, or net.ipv6.conf.{}.accept_ra = 2 if you trust all on that network"
    what = "its IPv6 route by {} is a router's word, which a kernel that forwards drops"
    return [Problem(what.format(name), remedy.format(name)) for name in sockets.advertised()]


def architecture(wanted: str) -> list[Problem]:
    """A processor that runs the programs that this node would get."""
    machine = platform.machine()
    if _ARCHITECTURES.get(machine) == wanted:
        return []
    return [Problem(f"its processor is {machine}, not {wanted}", "correct the node's architecture in cluster.yaml")]


def memory(wanted: int) -> list[Problem]:
    """Enough memory, swap not counted."""
    rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    has = int(rows["MemTotal"].split()[0]) // 1024
    return [] if has >= wanted else [Problem(f"it has {has} MiB of memory and needs {wanted}", "give it more")]


def cpus(wanted: int) -> list[Problem]:
    """Enough processors that we may use."""
    has = len(os.sched_getaffinity(0))
    return [] if has >= wanted else [Problem(f"it has {has} processors and needs {wanted}", "give it more")]


def disk(wanted: dict[str, int]) -> list[Problem]:
    """Enough room, and not read-only, where each path lies or will lie."""
    result = []
    for path, mib in wanted.items():
        there = next(folder for folder in (Path(path), *Path(path).parents) if folder.exists())
        status = os.statvfs(there)
        free = status.f_bavail * status.f_frsize // _MIB
        if not there.is_dir():
            result.append(Problem(f"{path}: {there} is no folder", "move it away"))
        elif status.f_flag & os.ST_RDONLY:
            result.append(Problem(f"{path}: its filesystem is read-only", "mount it writable"))
        elif free < int(mib):
            result.append(
                Problem(f"{path}: {free} MiB are free and {mib} are needed", "free some, or take a larger disk")
            )
    return result


def ports(wanted: list[dict[str, Any]]) -> list[Problem]:
    """Each port free, or held by a program that may."""
    open_sockets = sockets.listeners()
    result = []
    for item in wanted:
        protocol, number, allowed = item.get("protocol", "tcp"), int(item["port"]), set(item.get("programs", ()))
        inodes = {one.inode for one in open_sockets if (one.protocol, one.port) == (protocol, number)}
        held = sockets.holders(inodes) if inodes else {}
        for inode in sorted(inodes):
            process = held.get(inode)
            if process is None or not process.names & allowed:
                who = f"{process.name} (process {process.pid})" if process else "a process that can't be seen"
                what = f"{protocol.upper()} port {number} is held by {who}"
                result.append(Problem(what, "stop it, or give it another port"))
    return list(dict.fromkeys(result))


def programs(wanted: dict[str, str]) -> list[Problem]:
    """Each program must be there. Which packages a machine has is its owner's business, so none is installed."""
    absent = {name: package for name, package in wanted.items() if not shutil.which(name, path=_PATH)}
    if not absent:
        return []
    packages = " ".join(sorted(set(absent.values())))
    return [Problem(f"programs are missing: {', '.join(sorted(absent))}", f"run apt-get install {packages} there")]


def swap(allowed: bool) -> list[Problem]:  # noqa: FBT001 - called with the expectation's value, as all of these
    """No swap, unless it is allowed."""
    table = Path("/proc/swaps")
    devices = [line.split()[0] for line in table.read_text().splitlines()[1:]] if table.exists() else []
    if allowed or not devices:
        return []
    return [Problem(f"swap is on ({', '.join(devices)})", "run swapoff -a and remove it from /etc/fstab, or allow it")]


def cgroup(wanted: list[int]) -> list[Problem]:
    """A version of control groups that will do."""
    has = cgroup_version(Path("/proc/self/mounts").read_text())
    allowed = " or ".join(map(str, wanted))
    remedy = "boot with systemd.unified_cgroup_hierarchy=1, or take a newer system"
    return [] if has in wanted else [Problem(f"control groups are of version {has}, not {allowed}", remedy)]


def cgroup_version(mounts: str) -> int:
    """2 where the unified hierarchy is the one that is mounted, 1 where there are others, 0 where there is none."""
    kinds = {fields[1]: fields[2] for line in mounts.splitlines() if len(fields := line.split()) > 2}  # noqa: PLR2004 - proc_mounts(5)
    if kinds.get("/sys/fs/cgroup") == "cgroup2":
        return 2
    return 1 if "cgroup" in kinds.values() else 0


def distribution(wanted: list[dict[str, Any]]) -> list[Problem]:
    """An operating system that was tried."""
    release = platform.freedesktop_os_release()
    has = (release.get("ID", "unknown"), release.get("VERSION_ID", "unknown"))
    allowed = [(item["id"], str(version)) for item in wanted for version in item["versions"]]
    if has in allowed:
        return []
    names = ", ".join(" ".join(pair) for pair in allowed)
    return [Problem(f"its operating system is {' '.join(has)}, which was not tried", f"take one of {names}")]


def clock(controller: int) -> list[Problem]:
    """A clock that agrees with the controller's."""
    off = round(time.time()) - controller
    if abs(off) <= _CLOCK_TOLERANCE:
        return []
    ahead = "ahead of" if off > 0 else "behind"
    return [Problem(f"its clock is {abs(off)} s {ahead} the controller's", "set both by NTP")]


def prepared(comes: bool) -> list[Problem]:  # noqa: FBT001 - called with the expectation's value, as all of these
    """A machine that is in the cluster, or that is made ready for it."""
    if comes or is_member():
        return []
    return [Problem("it isn't in the cluster yet, and would join without being prepared", "add host to --tags")]


def is_member() -> bool:
    """Whether kharden made this machine a node of its cluster, or had it join, to the end."""
    return any(marker.exists() for marker in _MARKERS)


def kernel_features(wanted: list[str]) -> list[Problem]:
    """What the kernel must have; nothing is loaded to find out."""
    release = platform.release()
    return [
        Problem(f"the kernel {release} lacks {feature}", "take a kernel that has it, or install its modules")
        for feature in wanted
        if not has_feature(feature)
    ]


def has_feature(feature: str) -> bool:
    """True if the kernel has `feature`, in the form KIND:NAME."""
    kind, _, name = feature.partition(":")
    if kind == "module":
        return has_module(name)
    if kind == "filesystem":
        return name in Path("/proc/filesystems").read_text().split() or has_module(name)
    if kind == "controller":
        unified = Path("/sys/fs/cgroup/cgroup.controllers")
        rows = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()[1:]]
        return name in (unified.read_text().split() if unified.exists() else [row[0] for row in rows if row[3] == "1"])
    if kind == "lsm":
        active = Path("/sys/kernel/security/lsm")
        return active.exists() and name in active.read_text().strip().split(",")
    return kind == "path" and Path(name).exists()


def has_module(name: str) -> bool:
    """True if a module is loaded, built in or could be loaded."""
    under = name.replace("-", "_")
    if Path("/sys/module", under).is_dir():
        return True
    folder = Path("/lib/modules", platform.release())
    files = (folder / "modules.builtin", folder / "modules.dep")
    lines = (line for file in files if file.exists() for line in file.read_text().splitlines())
    return any(line.partition(":")[0].rpartition("/")[2].partition(".")[0].replace("-", "_") == under for line in lines)


def ssh(wanted: dict[str, Any]) -> list[Problem]:
    """The way by which this run came must stay open; the other side's address is the one that this node sees."""
    found = sessions.connection()
    sources = [ipaddress.ip_network(source) for source in wanted["sources"]]
    if found is None:
        what = "it can't be told from where this node is reached, so the firewall could lock everybody out"
        return [Problem(what, "reach it by ssh")]
    peer, port = found
    if port != int(wanted["port"]):
        what = f"ssh came in on port {port}, and the firewall would let in {wanted['port']} only"
        return [Problem(what, f"write port: {port} into the node's ssh section")]
    address = ipaddress.ip_address(peer)
    address = getattr(address, "ipv4_mapped", None) or address
    if any(address in source for source in sources):
        return []
    what = f"the firewall would lock out {address}, from where kharden reaches this node"
    return [Problem(what, f"add {address}/{address.max_prefixlen} to spec.access.ssh")]


def authorities(wanted: dict[str, str]) -> list[Problem]:
    """The CAs of this cluster or none."""
    remedy = (
        "check the address, or restore the stores that it was made with; to take the node over, reset it first "
        "(kubeadm reset; a lab node: invoke lab.down)"
    )
    return [
        Problem(f"this node belongs to another cluster: {path} is another CA's certificate", remedy)
        for path, digest in wanted.items()
        if Path(path).exists() and sha256(Path(path).read_bytes()).hexdigest() != digest
    ]


def local_etcd(wanted: bool) -> list[Problem]:  # noqa: FBT001 - as swap
    """A cluster keeps its etcd where it began: nothing is moved."""
    manifest = _MANIFESTS / "kube-apiserver.yaml"
    if not manifest.exists():
        return []
    has = any(f"--etcd-servers={own}:2379" in manifest.read_text() for own in _LOOPBACK)
    if has == wanted:
        return []
    where = "on this control plane itself" if has else "on machines of its own"
    what = f"this cluster has etcd {where}, and the roles in cluster.yaml say otherwise"
    return [Problem(what, "write the roles as they were; etcd is never moved")]


def kubernetes(wanted: dict[str, str]) -> list[Problem]:
    """A member stays in its minor version, and nothing goes back: kubelets would run ahead of their API servers."""
    refusal = versions.refusal(wanted["version"], wanted["kubelet"]) if is_member() else None
    return [Problem(*refusal)] if refusal else []


def remarks(expected: dict[str, Any]) -> list[str]:
    """What a person should know and what stops nobody.

    An apply is what mends a kubelet that is gone and a manifest that was spoilt. So a member of which neither tells its
    version is not refused; other members are asked for themselves.
    """
    wanted = expected["kubernetes"]
    if wanted is None or not is_member() or versions.running(wanted["version"], wanted["kubelet"]):
        return []
    at_control_plane = versions.MANIFEST.exists()
    who = "neither the API server's manifest nor the kubelet says" if at_control_plane else "the kubelet doesn't say"
    return [f"{who} which version of Kubernetes runs there, so it isn't known that {wanted['version']} may follow it"]


def state() -> dict[str, bool]:
    """How far earlier runs came: whether this is a part of the cluster, whether DNS was installed from here.

    And whether a member of etcd has data here.
    """
    return {"member": is_member(), "dns": _DNS_MARKER.exists(), "stored": etcd.has_data(Path(etcd.DATA))}


def fail_where_unfit(module: AnsibleModule, expectations: dict[str, Any]) -> None:
    """End the run with everything that is in the way, if there is anything."""
    try:
        found = problems(expectations)
    except (KeyError, TypeError, ValueError) as error:
        module.fail_json(msg=f"an expectation is not of the form that is documented ({error}): correct it", problems=[])
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: can't be read ({error.strerror}): run this as root", problems=[])
    listed = [asdict(problem) for problem in found]
    if found:
        lines = "; ".join(f"{problem.what}: {problem.remedy}" for problem in found)
        module.fail_json(msg=f"nothing was changed, {len(found)} in the way: {lines}", problems=listed)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    expectations = module.params["expectations"]
    fail_where_unfit(module, expectations)
    module.exit_json(changed=False, problems=[], notes=remarks(expectations), **state())


if __name__ == "__main__":
    main()
