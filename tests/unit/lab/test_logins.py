"""Files that make a lab machine's user and its port."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import pytest

from kharden.errors import InputError
from kharden.lab import lifecycle, logins
from kharden.lab.model import Lab, LabNode

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = IPv4Address("10.78.0.11")


def written(base: Path, node: LabNode) -> dict[str, logins.LoginFile]:
    lab = Lab("devlab", IPv4Network("10.78.0.0/24"), (node,))
    lifecycle.prepare(lab)
    return {file.path: file for file in logins.login_files(lab, node, base)}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    etc = tmp_path / "base/etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\nsync:x:4:65534:sync:/bin:/bin/sync\n")
    (etc / "group").write_text("root:x:0:\nbackup:x:34:\n")
    (etc / "shadow").write_text("root:*:20000:0:99999:7:::\n")
    (etc / "shadow").chmod(0o640)
    return tmp_path / "base"


def test_root_on_the_usual_port_needs_a_key_alone(base: Path) -> None:
    assert list(written(base, LabNode("cp1", ADDRESS))) == ["root/.ssh/authorized_keys"]


def test_another_user_takes_roots_place(base: Path) -> None:
    found = written(base, LabNode("cp1", ADDRESS, "admin", 2222))
    assert "root/.ssh/authorized_keys" not in found
    assert found["home/admin/.ssh/authorized_keys"].uid == found["home/admin"].gid == 1000
    assert found["etc/sudoers.d/kharden-lab"].content == b"admin ALL=(ALL:ALL) NOPASSWD: ALL\n"
    assert found["etc/sudoers.d/kharden-lab"].mode == 0o440
    assert found["etc/ssh/sshd_config.d/10-kharden-lab.conf"].content == b"Port 2222\nPermitRootLogin no\n"
    assert found["etc/shadow"].mode == 0o640
    assert (found["etc/passwd"].content or b"").startswith(b"root:x:0:0:")
    assert (found["etc/passwd"].content or b"").endswith(b"admin:x:1000:1000::/home/admin:/bin/bash\n")


def test_who_is_only_forwarded_has_no_rights(base: Path) -> None:
    assert "etc/sudoers.d/kharden-lab" not in written(base, LabNode("bastion", ADDRESS, "jump", sudo=False))


@pytest.mark.parametrize("name", ["sync", "backup"])
def test_users_and_groups_of_debian_are_refused(base: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"Debian has a user or group {name} of its own: choose another"):
        written(base, LabNode("cp1", ADDRESS, name))
