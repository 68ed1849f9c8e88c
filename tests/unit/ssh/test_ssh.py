"""ssh's own words, as OpenSSH 10 said them in the lab, and what is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kharden import ssh

if TYPE_CHECKING:
    from pathlib import Path

CHANGED = """\
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
Offending ED25519 key in /run/known_hosts:1
Host key for bastion has changed and you have requested strict checking.
Host key verification failed.
kex_exchange_identification: Connection closed by remote host
Connection closed by UNKNOWN port 65535
"""
OTHER_KIND = """\
No RSA host key is known for w1 and you have requested strict checking.
Host key verification failed.
"""


@pytest.mark.parametrize(
    ("said", "whose"),
    [
        (CHANGED, "bastion"),
        (OTHER_KIND, "w1"),
        ("Host key verification failed.\n", "w1"),
        ("Unable to negotiate with 10.0.0.1 port 22: No matching host key type found.", "w1"),
        ("ssh: connect to host 10.0.0.1 port 22: Connection refused\n", None),
        ("", None),
    ],
)
def test_it_is_told_whose_key_is_foreign(said: str, whose: str | None) -> None:
    assert ssh.foreign_host(said, "w1") == whose


def test_what_the_machine_behind_only_hears_is_not_the_reason() -> None:
    said = "jump@10.92.0.5: Permission denied (publickey).\nConnection closed by UNKNOWN port 65535\n"
    assert ssh.last_words(said) == "jump@10.92.0.5: Permission denied (publickey)."
    assert ssh.last_words("Connection closed by 10.0.0.1\n") == "Connection closed by 10.0.0.1"
    assert ssh.last_words("\n") == "no reason given"
    assert len(ssh.last_words("x" * 1000)) == 300


@pytest.mark.parametrize(
    "said",
    [
        "sudo: a password is required",
        "Missing sudo password",
        "/bin/sh: 1: sudo: not found",
        "x is not in the sudoers file.",
    ],
)
def test_a_user_that_may_not_be_root_is_known(said: str) -> None:
    assert ssh.lacks_sudo(said)
    assert not ssh.lacks_sudo("python3: not found")


def test_a_tilde_is_the_home_folder_of_who_runs_ssh(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    assert ssh.is_key_file(str(tmp_path / "key"))
    assert not ssh.is_key_file(str(tmp_path))
    assert not ssh.is_key_file("~/.ssh/no-such-key-of-kharden")


def test_nobody_to_explain_is_no_explanation(tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text("Host w1\n  HostName 127.0.0.1\n  Port 1\n")
    assert "Connection refused" in ssh.explain(config, "w1")
