from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kharden.lab import cgroups

V1 = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
"""
HYBRID = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V2 = """\
22 29 0:21 / /proc rw,nosuid - proc proc rw
30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate
"""
# systemd alone keeps a named v1 hierarchy beside v2: no controller is in it.
V2_WITH_NAMED = V2 + "40 31 0:37 / /run/named rw - cgroup cgroup rw,name=systemd\n"
IN_DOCKER = "35 31 0:32 /docker/4f /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"


def test_any_v1_controller_makes_the_host_v1() -> None:
    assert cgroups.version(cgroups.parse_mounts(V1)) == 1
    assert cgroups.version(cgroups.parse_mounts(HYBRID)) == 1


def test_a_unified_host_is_v2() -> None:
    assert cgroups.version(cgroups.parse_mounts(V2)) == 2
    assert cgroups.version(cgroups.parse_mounts(V2_WITH_NAMED)) == 2


def test_other_mounts_are_no_hierarchies() -> None:
    assert [str(found.mount_point) for found in cgroups.parse_mounts(V2)] == ["/sys/fs/cgroup"]


def test_own_groups_of_a_v1_host() -> None:
    membership = cgroups.parse_membership("9:name=systemd:/\n4:memory:/job/7\n1:cpu,cpuacct:/\n")
    assert cgroups.own_groups(cgroups.parse_mounts(V1), membership) == (
        Path("/sys/fs/cgroup/cpu,cpuacct"),
        Path("/sys/fs/cgroup/memory/job/7"),
        Path("/sys/fs/cgroup/systemd"),
    )


def test_own_groups_of_a_hybrid_host_include_the_unified_one() -> None:
    membership = cgroups.parse_membership("9:name=systemd:/\n4:memory:/\n1:cpu,cpuacct:/\n0::/init.scope\n")
    assert cgroups.own_groups(cgroups.parse_mounts(HYBRID), membership)[-1] == Path("/sys/fs/cgroup/unified/init.scope")


def test_own_group_of_a_v2_host() -> None:
    membership = cgroups.parse_membership("0::/user.slice/a:b.scope\n")
    assert cgroups.own_groups(cgroups.parse_mounts(V2), membership) == (Path("/sys/fs/cgroup/user.slice/a:b.scope"),)


def test_where_only_a_part_is_mounted_the_path_starts_there() -> None:
    membership = cgroups.parse_membership("4:memory:/docker/4f/job\n")
    assert cgroups.own_groups(cgroups.parse_mounts(IN_DOCKER), membership) == (Path("/sys/fs/cgroup/memory/job"),)


def test_a_v1_cpuset_is_filled_before_a_process_enters(tmp_path: Path) -> None:
    own = tmp_path / "cpuset"
    own.mkdir()
    (own / "cgroup.clone_children").write_text("0")
    (own / "cpuset.cpus").write_text("0-1\n")
    (own / "cpuset.mems").write_text("0\n")
    cgroups.make_node_groups((own / "kharden-x",), "cp1")
    assert (own / "kharden-x/cpuset.cpus").read_text() == "0-1\n"


def test_v2_controllers_are_handed_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids rdma\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu\n")
    made = cgroups.make_node_groups((tmp_path / "kharden-x",), "cp1")
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpuset +io +memory +pids"
    assert made.node == (tmp_path / "kharden-x/cp1",)
    assert made.node != made.launcher


def test_removal_kills_what_is_left_but_never_itself_or_foreign_ones(tmp_path: Path) -> None:
    group = tmp_path / "kharden-x"
    group.mkdir()
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    procs = group / "cgroup.procs"
    procs.write_text(f"0\n1\n{os.getpid()}\n{child.pid}\n")
    # A real group's files go with its folder; here that is left to the test.
    assert cgroups._remove_once(group) is False  # noqa: SLF001  # the loop around it only waits
    child.communicate()
    assert child.returncode == -9
    procs.unlink()
    cgroups.remove_groups([group])
    assert not group.exists()
