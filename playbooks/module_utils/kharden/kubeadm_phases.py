# SPDX-License-Identifier: Apache-2.0
"""What kubeadm would write now from a configuration, without letting it write or read what isn't its own here.

`kubeadm init phase … --dry-run` puts files into the folder that KUBEADM_INIT_DRYRUN_DIR names (kubeadm's
app/constants, the same from 1.35 to 1.37) and touches no cluster, so one configuration of kind init serves every node.

The folder of certificates is hidden from it by an empty one, in a mount namespace of its own. Where kubeadm finds a CA
without its key, as on every worker, it goes on to validate kubeconfigs that such a node never has, and stops
(UsingExternalCA in app/phases/certs); and no key has to be readable for comparing text.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TIMEOUT = 60  # seconds; a phase takes a tenth of one
_CLONE_NEWNS = 0x20000  # sched.h
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 1, 2, 4, 8, 1 << 14, 1 << 18  # sys/mount.h
_TOKEN = re.compile(r'(?<=token )"[^"]*"|\b[a-z0-9]{6}\.[a-z0-9]{16}\b')  # kubeadm repeats one that it doesn't like
_ADVICE = "To see the stack trace"


@dataclass(frozen=True, slots=True)
class Source:
    """What kubeadm is run with: `content` and `patches` take the place of the files that lie on the node."""

    program: str
    config: str
    certificates: str
    scratch: str
    content: str | None = None
    patches: Mapping[str, str] | None = None
    patches_folder: str = ""


@contextmanager
def written(source: Source, phases: list[list[str]]) -> Iterator[dict[str, bytes]]:
    """Run `phases` (["etcd", "local"] for one) and yield what kubeadm wrote, by file name.

    Raises:
        NodeError: kubeadm refuses the configuration, or isn't there.
    """
    folder = Path(tempfile.mkdtemp(prefix="kharden-kubeadm-", dir=source.scratch))  # 0700
    try:
        output = folder / "output"
        output.mkdir(mode=0o700)
        config = _config(source, folder)
        for phase in phases:
            _run(source, phase, config, output)  # whole manifests are printed, and dropped here
        yield {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()}
    finally:
        shutil.rmtree(folder)


def printed(source: Source, phase: list[str], folder: Path) -> str:
    """What a phase prints in its dry run; `folder` takes the place of /etc/kubernetes.

    Raises:
        NodeError: as of `written`.
    """
    return _run(source, phase, _config(source, folder), folder)


def _config(source: Source, folder: Path) -> str:
    """The path of the configuration to use: the node's, or one of our own where its text was given."""
    if source.content is None:
        return source.config
    text = source.content
    if source.patches is not None and source.patches_folder:
        patches = folder / "patches"
        patches.mkdir(mode=0o700)
        for name, patch in source.patches.items():
            if Path(name).name != name:
                raise NodeError(f"patches: {name!r} is not a file's name: correct it")
            (patches / name).write_text(patch)
        text = text.replace(source.patches_folder, str(patches))
    own = folder / "config.yaml"
    own.touch(mode=0o600)
    own.write_text(text)
    return str(own)


def _run(source: Source, phase: list[str], config: str, output: Path) -> str:
    argv = [source.program, "init", "phase", *phase, f"--config={config}", "--dry-run"]
    hide = source.certificates if os.geteuid() == 0 and Path(source.certificates).is_dir() else ""
    try:
        done = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            env={"PATH": os.environ.get("PATH", os.defpath), "KUBEADM_INIT_DRYRUN_DIR": str(output)},
            preexec_fn=(lambda: _hide(hide)) if hide else None,  # a module has one thread
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NodeError(f"{source.program}: can't be run ({type(error).__name__}): place the program first") from None
    if done.returncode:
        raise NodeError(f"kubeadm init phase {' '.join(phase)}: refuses {source.config}: {complaint(done.stderr)}")
    return done.stdout


def complaint(stderr: str) -> str:
    """Kubeadm's last words as one line, without a token."""
    said = [line for line in stderr.splitlines() if line.strip() and not line.startswith(_ADVICE)]
    return " | ".join(_TOKEN.sub("(token)", line).strip() for line in said[-3:])


def _hide(folder: str) -> None:
    """Put an empty folder over `folder` for this process only. Runs in the child, before kubeadm."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    if (
        libc.unshare(_CLONE_NEWNS)
        or libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
        or libc.mount(b"none", folder.encode(), b"tmpfs", ctypes.c_ulong(flags), b"size=4k,mode=0700")
    ):
        raise OSError(ctypes.get_errno(), f"can't hide {folder}")


def keep_membership(generated: str, present: str) -> str:
    """Take the etcd member's --initial-cluster and …-state of `present` over into `generated`.

    kubeadm's init phase knows of one member only; a member that joined has all that there were then. etcd reads both
    flags only when it has no data, where a lone member would start a cluster of its own beside the real one. They are
    kept as long as `present` names this very member too.
    """
    line = re.compile(r"^( +- )--initial-cluster=(\S+)\n", re.MULTILINE)
    state = re.search(r"^ +- --initial-cluster-state=existing\n", present, re.MULTILINE)
    mine, theirs = line.search(generated), line.search(present)
    if not mine or not theirs or not set(mine[2].split(",")) <= set(theirs[2].split(",")):
        return generated
    without = re.sub(r"^ +- --initial-cluster-state=\S+\n", "", generated, flags=re.MULTILINE)
    return line.sub(lambda _: theirs[0] + (state[0] if state else ""), without)
