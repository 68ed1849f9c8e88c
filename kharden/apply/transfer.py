"""Brings programs and archives to a node in one stream: `python -m kharden.apply.transfer` on the controller.

Ansible copies one file a task; for some twenty files of 500 MB in all that takes several times as long as one tar
stream through the connection that is open already. What arrives is verified on the node, by its digest.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

STAGING = "/var/lib/kharden/staged"


def send(ssh: list[str], objects: Path, digests: list[str]) -> str:
    """Send objects to the staging folder of the node that `ssh` leads to; what it complains about, or nothing."""
    # The far side's command is fixed text; a digest is a file name in the stream, and they are all hexadecimal.
    far = f"umask 077 && exec $([ $(id -u) = 0 ] || echo sudo -n) tar --extract --directory {STAGING} --no-same-owner"
    with subprocess.Popen([*ssh, far], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        broken = cut_off = ""
        try:
            with tarfile.open(fileobj=process.stdin, mode="w|", bufsize=1 << 20) as stream:
                for digest in digests:
                    stream.add(objects / digest, digest, filter=_anonymous)
        except BrokenPipeError:
            cut_off = "the connection was closed"
        except OSError as error:  # of an object: what the far side then says of half a stream tells less
            broken = f"{error.filename}: {error.strerror}"
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        said = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
        status = process.wait()
        if status:
            return broken or said or cut_off or f"ssh ended with status {status}"
        return broken or cut_off


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o600
    return entry


def main() -> int:
    """The program: NODE, --ssh-arguments, --objects and digests; exit status 1 with a line where it failed."""
    parser = argparse.ArgumentParser(description="Send objects to a node's staging folder.")
    parser.add_argument("node")
    parser.add_argument("--ssh-arguments", required=True, help="options for ssh, as one text")
    parser.add_argument("--objects", required=True, type=Path)
    parser.add_argument("digests", nargs="+")
    options = parser.parse_args()
    complaint = send(["ssh", *shlex.split(options.ssh_arguments), options.node], options.objects, options.digests)
    if complaint:
        sys.stderr.write(f"{options.node}: can't bring programs: {complaint.splitlines()[-1]}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
