"""What is sent, taken by a real `sh` and `tar` in the place of ssh and a node."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kharden.apply import transfer
from kharden.apply.transfer import STAGING, send

if TYPE_CHECKING:
    from pathlib import Path

# Larger than what a pipe holds, so that an end that goes away is felt.
LARGE = 4 << 20


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    """The cache's folder of objects."""
    folder = tmp_path / "objects"
    folder.mkdir()
    return folder


def put(objects: Path, content: bytes, mode: int = 0o555) -> str:
    digest = hashlib.sha256(content).hexdigest()
    (objects / digest).write_bytes(content)
    (objects / digest).chmod(mode)
    return digest


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Path]:
    """A far side that runs what ssh would run there, with a folder of the test's for staging."""
    staging = tmp_path / "staged"
    staging.mkdir(mode=0o700)
    monkeypatch.setattr(transfer, "STAGING", str(staging))
    # Here nobody else's right is needed, whoever runs the test.
    script(tmp_path / "bin" / "sudo", 'shift\nexec "$@"\n')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return ["sh", "-c", 'eval "$0"'], staging


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
    path.chmod(0o755)
    return path


def failing(script: str) -> list[str]:
    """A far side that does something else with what it gets."""
    return ["sh", "-c", script]


def test_what_is_sent_arrives_private_and_under_its_digest(objects: Path, far: tuple[list[str], Path]) -> None:
    ssh, staging = far
    digests = [put(objects, b"x" * LARGE), put(objects, b"small"), put(objects, b"")]
    assert send(ssh, objects, digests) == ""
    assert {path.name for path in staging.iterdir()} == set(digests)
    for path in staging.iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        assert path.stat().st_mode & 0o7777 == 0o600


def test_only_what_was_asked_for_is_sent(objects: Path, far: tuple[list[str], Path]) -> None:
    ssh, staging = far
    wanted = put(objects, b"wanted")
    put(objects, b"not wanted")
    assert send(ssh, objects, [wanted]) == ""
    assert [path.name for path in staging.iterdir()] == [wanted]


@pytest.mark.parametrize("size", [5, LARGE])
@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("cat >/dev/null; echo 'tar: disk full' >&2; exit 2", "tar: disk full"),
        ("echo 'Permission denied (publickey).' >&2; exit 255", "Permission denied (publickey)."),
        ("exec 0<&-; echo first >&2; echo second >&2; exit 1", "first\nsecond"),
    ],
)
def test_what_the_far_side_complains_about_is_told(objects: Path, size: int, script: str, complaint: str) -> None:
    assert send(failing(script), objects, [put(objects, b"x" * size)]) == complaint


@pytest.mark.parametrize("size", [5, LARGE])
@pytest.mark.parametrize("script", ["exit 3", "cat >/dev/null; exit 3", "kill -9 $$"])
def test_a_far_side_that_fails_without_a_word_is_not_taken_for_success(objects: Path, size: int, script: str) -> None:
    assert send(failing(script), objects, [put(objects, b"x" * size)]) != ""


def test_what_it_says_beside_success_is_no_complaint(objects: Path) -> None:
    assert send(failing("cat >/dev/null; echo 'a banner' >&2"), objects, [put(objects, b"x")]) == ""


def test_an_object_that_is_gone_is_told(objects: Path, far: tuple[list[str], Path]) -> None:
    complaint = send(far[0], objects, [put(objects, b"here"), "0" * 64])
    assert complaint == f"{objects / ('0' * 64)}: No such file or directory"


# --- as Ansible runs it


def program(node: str, objects: Path, *digests: str, path: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "kharden.apply.transfer", "--ssh-arguments=-F 'a b' -o X=y", f"--objects={objects}"]
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run([*argv, node, *digests], capture_output=True, text=True, check=False, env=environment)


def test_the_program_hands_ssh_its_options_and_fails_in_one_line(objects: Path, tmp_path: Path) -> None:
    said = f'printf "%s\\n" "$@" >{tmp_path}/argv\ncat >/dev/null\necho one >&2\necho two >&2\nexit 1\n'
    ssh = script(tmp_path / "bin" / "ssh", said)
    done = program("cp1", objects, put(objects, b"x"), path=ssh.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "cp1: can't bring programs: two\n"
    argv = (tmp_path / "argv").read_text().splitlines()
    assert argv[:5] == ["-F", "a b", "-o", "X=y", "cp1"]
    assert len(argv) == 6
    assert STAGING in argv[5]


def test_the_program_is_silent_where_all_went_well(objects: Path, tmp_path: Path) -> None:
    ssh = script(tmp_path / "bin" / "ssh", "exec cat >/dev/null\n")
    done = program("cp1", objects, put(objects, b"x"), path=ssh.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
