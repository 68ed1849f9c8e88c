# SPDX-License-Identifier: Apache-2.0
"""Ansible module: images of containerd, by the digest of their manifest."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:  # the same files, where mypy finds them
    from playbooks.module_utils.kharden import files, units
    from playbooks.module_utils.kharden.errors import NodeError
else:
    from ansible.module_utils.kharden import files, units
    from ansible.module_utils.kharden.errors import NodeError

DOCUMENTATION = r"""
module: images
short_description: Images of containerd, by the digest of their manifest
description:
  - Compares the images that containerd has under the given references with the wanted digests.
  - Imports those that are missing or different from archives in the staging folder. Each is hashed before containerd
    reads it, and what containerd then has is compared once more.
  - Images that nobody asked for are left alone; the kubelet collects them.
version_added: "0.1.0"
author:
  - The kharden authors
options:
  wanted:
    description: Images that containerd must have.
    type: list
    elements: dict
    required: true
    suboptions:
      reference:
        description: What Kubernetes asks for.
        type: str
        required: true
      digest:
        description: Digest of its manifest, C(sha256:) and 64 hexadecimal digits.
        type: str
        required: true
      archive_sha256:
        description: SHA-256 of the archive that holds it; also the archive's name in the staging folder.
        type: str
        required: true
      size:
        description: Size of the archive in bytes.
        type: int
        required: true
  state:
    description: V(queried) only looks; V(present) imports what is missing.
    type: str
    choices: [queried, present]
    default: present
  staging:
    description: The staging folder.
    type: path
    default: /var/lib/kharden/staged
  ctr:
    description: Containerd's client program.
    type: path
    default: /usr/local/bin/ctr
  address:
    description: Containerd's socket. Where there is none, containerd doesn't run yet and has no images.
    type: path
    default: /run/containerd/containerd.sock
attributes:
  check_mode:
    description: Tells what is missing, and imports nothing.
    support: full
  diff_mode:
    description: An image has no text to compare.
    support: none
"""

EXAMPLES = r"""
- name: Find images that are missing
  images:
    wanted: "{{ wanted_images }}"
    state: queried
  register: found

- name: Import them
  images:
    wanted: "{{ wanted_images }}"
"""

RETURN = r"""
missing:
  description: References that were missing or had another digest, in the order wanted.
  returned: always
  type: list
  elements: str
  sample: ["registry.k8s.io/pause:3.10.2"]
changes:
  description: The same as actions with their digests; where the module fails, those that were imported by then.
  returned: always
  type: list
  elements: dict
archives:
  description: The archives that hold them, each with its C(sha256) and its C(size) in bytes.
  returned: always
  type: list
  elements: dict
"""

ARGUMENTS = {
    "wanted": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "reference": {"type": "str", "required": True},
            "digest": {"type": "str", "required": True},
            "archive_sha256": {"type": "str", "required": True},
            "size": {"type": "int", "required": True},
        },
    },
    "state": {"type": "str", "choices": ["queried", "present"], "default": "present"},
    "staging": {"type": "path", "default": "/var/lib/kharden/staged"},
    "ctr": {"type": "path", "default": "/usr/local/bin/ctr"},
    "address": {"type": "path", "default": "/run/containerd/containerd.sock"},
}

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAMESPACE = "k8s.io"  # where the kubelet's images are
# The kubelet then never removes it to make room; no registry has it, and a static pod can't start without its image.
_PINNED = "io.cri-containerd.pinned=pinned"
_TIMEOUT = 300  # seconds; the largest image takes two
_COLUMNS = 3  # reference, type, digest, and what doesn't matter here


class Runtime:
    """The containerd of this node, by its client."""

    def __init__(self, ctr: str, address: str) -> None:
        self.ctr = ctr
        self.address = address

    def images(self) -> dict[str, str]:
        """Reference → digest of what it holds; empty where it doesn't run yet.

        Raises:
            NodeError: it runs and doesn't answer.
        """
        if not files.look(self.ctr) or not files.look(self.address):
            return {}
        status, said = self._run("list")
        if status and "connection refused" in said:  # the socket of one that has ended
            return {}
        if status:
            raise NodeError(f"containerd doesn't tell its images: {_last(said)}: look at its journal")
        rows = [line.split() for line in said.splitlines()]
        return {row[0]: row[2] for row in rows if len(row) >= _COLUMNS}

    def load(self, image: dict[str, Any], staging: str) -> None:
        """Import one archive. It is hashed first; only root can write where it lies.

        Raises:
            NodeError: it isn't there, is not the one that is wanted, or containerd doesn't take it.
        """
        name, path = image["reference"], f"{staging}/{image['archive_sha256']}"
        if files.digest(path) != image["archive_sha256"]:
            files.remove(path)
            raise NodeError(f"{name}: its archive was damaged on the way and is removed: apply again")
        status, said = self._run("import", path)
        if not status:
            status, said = self._run("label", name, _PINNED)
        if status:
            raise NodeError(f"{name}: containerd doesn't take the archive: {_last(said)}: look at its journal")

    def _run(self, *arguments: str) -> tuple[int, str]:
        argv = [self.ctr, "--address", self.address, "--namespace", _NAMESPACE, "images", *arguments]
        return units.run(argv, _TIMEOUT)


def _last(said: str) -> str:
    return " ".join(said.strip().splitlines()[-1:]) or "it said nothing"


def different(wanted: list[dict[str, Any]], found: dict[str, str]) -> list[dict[str, Any]]:
    """The wanted images that are not there, or are another."""
    return [image for image in wanted if found.get(image["reference"]) != image["digest"]]


def check(wanted: list[dict[str, Any]]) -> None:
    """See that digests are digests: they are names of files here.

    Raises:
        NodeError: one is something else.
    """
    for image in wanted:
        name = image["archive_sha256"]
        if not _DIGEST.fullmatch(name):
            raise NodeError(f"wanted: {name!r} is not 64 lower-case hexadecimal digits: correct the list")


def bring(runtime: Runtime, missing: list[dict[str, Any]], staging: str, done: list[dict[str, Any]]) -> None:
    """Import the missing images, which `done` takes one after the other, and see that they are there."""
    for image in missing:
        runtime.load(image, staging)
        done.append(image)
    found = runtime.images()
    for image in different(missing, found):
        has = found.get(image["reference"], "nothing")
        raise NodeError(f"{image['reference']}: should be {image['digest']} but containerd has {has}: apply again")


def as_changes(imported: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What the module returns of images that were imported, or would be."""
    return [{"action": "import", "name": f"{image['reference']} ({image['digest']})"} for image in imported]


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wanted: list[dict[str, Any]] = module.params["wanted"]
    staging: str = module.params["staging"]
    runtime = Runtime(module.params["ctr"], module.params["address"])
    look_only = module.check_mode or module.params["state"] == "queried"
    lock = nullcontext() if look_only else files.exclusively(str(PurePosixPath(staging).parent))
    done: list[dict[str, Any]] = []
    try:
        check(wanted)
        with lock:
            missing = different(wanted, runtime.images())
            if not look_only:
                bring(runtime, missing, staging, done)
    except NodeError as error:
        module.fail_json(msg=error.message, changes=as_changes(done))
    module.exit_json(
        changed=bool(missing) and module.params["state"] == "present",
        missing=[image["reference"] for image in missing],
        changes=as_changes(missing),
        archives=[{"sha256": image["archive_sha256"], "size": image["size"]} for image in missing],
    )


if __name__ == "__main__":
    main()
