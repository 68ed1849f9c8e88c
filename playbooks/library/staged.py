# SPDX-License-Identifier: Apache-2.0
"""Ansible module: which content has to be uploaded to a node, and removing it again."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:  # the same files, where mypy finds them
    from playbooks.module_utils.kharden import files
    from playbooks.module_utils.kharden.errors import NodeError
else:
    from ansible.module_utils.kharden import files
    from ansible.module_utils.kharden.errors import NodeError

DOCUMENTATION = r"""
module: staged
short_description: Content that a node still needs
description:
  - Tells which of the wanted content lies neither in the staging folder nor at one of its final paths, and makes the
    staging folder, open to its owner only.
  - What is staged is only measured here. C(converge) verifies it while it copies.
version_added: "0.1.0"
author:
  - The kharden authors
options:
  wanted:
    description: Content, each with its C(sha256) and C(size) in bytes. Further keys are ignored.
    type: list
    elements: dict
    default: []
  files:
    description: Where content may be already, each with C(path) and C(sha256). These files are hashed.
    type: list
    elements: dict
    default: []
  clean:
    description: Remove everything that was staged, in place of looking.
    type: bool
    default: false
  staging:
    description: The staging folder.
    type: path
    default: /var/lib/kharden/staged
attributes:
  check_mode:
    description: Reads only; no folder is made and nothing is removed.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Find content that is missing
  staged:
    wanted: "{{ programs }}"
    files: "{{ programs }}"
  register: staged

- name: Clear what was staged
  staged:
    clean: true
"""

RETURN = r"""
missing:
  description: Digests to upload into the staging folder, each under its digest as name, in the order wanted.
  returned: always
  type: list
  elements: str
held:
  description: What lies in the staging folder.
  returned: always
  type: list
  elements: str
removed:
  description: What O(clean) has removed, or would in check mode.
  returned: always
  type: list
  elements: str
"""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "wanted": {"type": "list", "elements": "dict", "default": []},
    "files": {"type": "list", "elements": "dict", "default": []},
    "clean": {"type": "bool", "default": False},
    "staging": {"type": "path", "default": "/var/lib/kharden/staged"},
}


_DIGEST = re.compile(r"[0-9a-f]{64}")


def missing(wanted: list[dict[str, Any]], places: list[dict[str, Any]], staging: str) -> list[str]:
    """The digests of `wanted` content that is neither staged nor at one of `places`.

    Raises:
        NodeError: what should be a digest is something else; digests are names of files here.
    """
    sizes: dict[str, int] = {item["sha256"]: item["size"] for item in wanted}
    if wrong := [digest for digest in sizes if not _DIGEST.fullmatch(digest)]:
        raise NodeError(f"wanted: {wrong[0]!r} is not 64 lower-case hexadecimal digits: correct the list")
    # An upload that was cut off is shorter; that the bytes are right is seen when they are copied.
    needed = {digest for digest, size in sizes.items() if not _has_size(f"{staging}/{digest}", size)}
    for place in places:
        digest = place["sha256"]
        if digest in needed and _has_size(place["path"], sizes[digest]) and files.digest(place["path"]) == digest:
            needed.discard(digest)
    return [digest for digest in sizes if digest in needed]


def _has_size(path: str, size: int) -> bool:
    found = files.look(path)
    return found is not None and found.kind == "file" and found.size == size


def clean(staging: str, *, plan: bool) -> list[str]:
    """Remove what lies in the staging folder; the folder itself stays."""
    if not files.look(staging):
        return []
    names = sorted(files.names(staging))
    for name in () if plan else names:
        files.remove(f"{staging}/{name}")
    return names


def make(staging: str) -> bool:
    """Make the staging folder, or put its owner and mode right; True if that was needed."""
    found = files.look(staging)
    if found is None:
        files.make_folder(staging, files.own(0o700))
    elif found.kind != "directory":
        raise NodeError(f"{staging}: is a {found.kind} where the staging folder belongs: move it away")
    elif found.attributes != files.own(0o700):
        files.set_attributes(staging, files.own(0o700))
    else:
        return False
    return True


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    staging: str = module.params["staging"]
    plan: bool = module.check_mode
    lock = nullcontext() if plan else files.exclusively(str(PurePosixPath(staging).parent))
    try:
        with lock:
            if module.params["clean"]:
                removed = clean(staging, plan=plan)
                module.exit_json(changed=bool(removed), removed=removed, missing=[], held=[])
            changed = not plan and make(staging)
            absent = missing(module.params["wanted"], module.params["files"], staging)
            held = clean(staging, plan=True)
    except NodeError as error:
        module.fail_json(msg=error.message)
    except (KeyError, TypeError):
        module.fail_json(msg="wanted needs sha256 and size, files needs path and sha256: correct the playbook")
    module.exit_json(changed=changed, missing=absent, removed=[], held=held)


if __name__ == "__main__":
    main()
