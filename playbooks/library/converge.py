# SPDX-License-Identifier: Apache-2.0
"""Ansible module: all files of a node in one task."""

from __future__ import annotations

import posixpath
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:  # the same files, where mypy finds them
    from playbooks.module_utils.kharden import changes, files, payload, placing, record, restarts, survey
    from playbooks.module_utils.kharden.errors import NodeError
else:
    from ansible.module_utils.kharden import changes, files, payload, placing, record, restarts, survey
    from ansible.module_utils.kharden.errors import NodeError

DOCUMENTATION = r"""
module: converge
short_description: Make all files of a node as they are listed
description:
  - Takes every path that kharden owns on a node at once, compares, and changes only what differs.
  - The payload is checked as a whole before anything is touched; content is verified against its digest while it is
    copied; every file is there whole or not at all.
  - What an earlier run placed and the payload no longer lists is removed, unless somebody else has changed it since.
    Folders are removed only if kharden made them and they are empty.
  - No symbolic link is followed. One in a file's place is replaced; one in a folder's place is refused.
  - A unit whose own file leaves is to stop instead, C(gone/NAME), unless a package has one of that name.
  - What has to restart is written down on the node before the first change and returned until the module
    C(services) has seen it restart, so that a run that was cut off loses none.
version_added: "0.1.0"
author:
  - The kharden authors
options:
  payload:
    description:
      - Base64 of gzip of JSON, C({"schema":1,"files":[...]}).
      - An entry has C(path), C(kind) (file, directory, symlink), C(owner), C(group) and C(mode) (a string as in
        C("0600")); a file has C(sha256), C(content) (base64) or both, and may have C(size), C(sensitive) and
        C(validate) (a program's arguments, C(%s) for the file to look at); a symlink has C(target). C(restarts) lists
        what must restart once the content has changed.
      - A file without content has it in O(staging), named by its digest, or at another listed path.
    type: str
    required: true
  record:
    description: Where the list of what was placed lies.
    type: path
    default: /var/lib/kharden/placed.json
  pending:
    description: Where the list of what still has to restart lies.
    type: path
    default: /var/lib/kharden/pending.json
  staging:
    description: The folder of uploaded content, see the module C(staged).
    type: path
    default: /var/lib/kharden/staged
  trust_times:
    description:
      - Take a file of 10 MB and more for unchanged if inode, size and times are those that were recorded.
      - Faster, but root on the node can set times; so without it every file is hashed.
    type: bool
    default: false
  hold:
    description:
      - Files that are left for a later run. What decides who gets in comes right before it is loaded with a way back;
        until then a boot brings what somebody got in with.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Reports exactly what a run would change, and writes nothing at all. Nothing needs to be staged for it.
    support: full
  diff_mode:
    description: Texts of less than 64 KiB as a unified diff, other content as digests, sensitive content never.
    support: full
notes:
  - Missing folders on the way to a path are made with mode 0755.
  - A change of owner or mode alone restarts nothing.
"""

EXAMPLES = r"""
- name: Place the files of this node
  converge:
    payload: "{{ lookup('file', build_folder ~ '/payload') }}"
  register: converged
"""

RETURN = r"""
changes:
  description: Every path that was changed, or would be in check mode; also where the module fails half-way.
  returned: always
  type: list
  elements: dict
  sample:
    - path: /etc/sysctl.d/90-kharden.conf
      action: update
      before: {kind: file, mode: "0644", owner: root, group: root}
      after: {kind: file, mode: "0644", owner: root, group: root}
      diff: "--- /etc/sysctl.d/90-kharden.conf\n+++ ..."
      restarts: [sysctl]
restarts:
  description: What has to restart now, with what earlier runs have left to do. Sorted.
  returned: always
  type: list
  elements: str
held:
  description: Paths that differ and wait for a later run, because of O(hold). None in check mode.
  returned: always
  type: list
  elements: str
left:
  description: Paths that are no longer listed but were changed by somebody else, and so stay.
  returned: always
  type: list
  elements: str
notes:
  description: The same, as lines for a person.
  returned: always
  type: list
  elements: str
missing:
  description: Content that is neither staged nor on the node, as path and sha256. Fails outside check mode.
  returned: always
  type: list
  elements: dict
problems:
  description: Everything that is wrong with the payload or in the way on the node.
  returned: failure
  type: list
  elements: str
"""

ARGUMENTS = {
    "payload": {"type": "str", "required": True, "no_log": True},
    "record": {"type": "path", "default": record.RECORD},
    "pending": {"type": "path", "default": restarts.PENDING},
    "staging": {"type": "path", "default": "/var/lib/kharden/staged"},
    "trust_times": {"type": "bool", "default": False},
    "hold": {"type": "list", "elements": "str", "default": []},
}
LEFT = "{}: is no longer listed, but was changed since kharden placed it: look at it, then remove it"


def converge(params: dict[str, Any], *, plan: bool) -> tuple[survey.Survey, list[str]]:
    """Compare, and unless it is a `plan`, change.

    Returns:
        What was (or would be) done, and what has to restart.

    Raises:
        NodeError: something is in the way; unless a step failed half-way, nothing was changed.
    """
    entries = payload.decode(params["payload"])
    before = record.load(params["record"])
    known = restarts.pending(params["pending"])
    found = survey.survey(
        entries, survey.Circumstances(before, params["staging"], plan=plan, trust_times=params["trust_times"])
    )
    if found.problems:
        more = f" (and {len(found.problems) - 1} more, see problems)" if len(found.problems) > 1 else ""
        raise NodeError(
            f"nothing was changed: {found.problems[0]}{more}", problems=found.problems, missing=found.missing
        )
    if not plan:
        found.hold(params["hold"])
        entries = tuple(entry for entry in entries if entry.path not in found.held)
    coming = sorted(_coming(entries, known.union(*(step.change.restarts for step in found.steps))))
    if not plan:
        _carry_out(entries, found, before, coming, params)
        restarts.strike(params["pending"], known.difference(coming))
    return found, coming


def _coming(entries: tuple[payload.Entry, ...], listed: frozenset[str]) -> frozenset[str]:
    """Less what has been overtaken: a unit that is back doesn't go, and one that goes doesn't restart."""
    back = {restarts.GONE + name for name in (survey.unit_of(entry.path) for entry in entries) if name}
    going = {one.removeprefix(restarts.GONE) for one in listed - back if one.startswith(restarts.GONE)}
    return listed - back - going


def unsettled(params: dict[str, Any]) -> str:
    """What a run would find to do, also where that is only its own record (of what is `left`); empty if nothing.

    Raises:
        NodeError: the payload or the record can't be used.
    """
    entries = payload.decode(params["payload"])
    before = record.load(params["record"])
    circumstances = survey.Circumstances(before, params["staging"], plan=True, trust_times=params["trust_times"])
    found = survey.survey(entries, circumstances)
    paths = [step.change.path for step in found.steps] or found.problems
    if not paths:
        paths = [path for path in map(files.temporary, before) if files.look(path)]  # of a run that was cut off
    if not paths and record.remember_times(record.expected(entries, before, [])) != before:
        paths = [params["record"]]
    return "".join(paths[:1]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def _carry_out(
    entries: tuple[payload.Entry, ...],
    found: survey.Survey,
    before: dict[str, record.Placed],
    coming: list[str],
    params: dict[str, Any],
) -> None:
    made = [step.change.path for step in found.steps if step.change.action == "create"]
    after = record.expected(entries, before, made)
    # What waits is remembered as it was.
    after |= {path: before[path] for path in found.held if path in before}
    placing.sweep({*before, *after})

    def before_first() -> None:
        if found.steps:
            record.store(params["record"], record.in_flight(after, before))
            restarts.add(params["pending"], coming)

    done: list[survey.Step] = []
    try:
        placing.place(found.steps, staging=params["staging"], before_first=before_first, done=done)
        record.store(params["record"], record.remember_times(after))
    except NodeError as error:
        raise NodeError(error.message, changes=[step.change.as_result() for step in done]) from None


def as_result(found: survey.Survey, coming: list[str], *, with_diff: bool) -> dict[str, Any]:
    """What the module returns."""
    listed = [step.change for step in found.steps]
    result: dict[str, Any] = {
        "changed": bool(listed),
        "changes": [change.as_result() for change in listed],
        "restarts": coming,
        "held": found.held,
        "left": found.left,
        "notes": [LEFT.format(path) for path in found.left],
        "missing": found.missing,
    }
    if with_diff:
        result["diff"] = [{"prepared": changes.prepared(change)} for change in listed]
    return result


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    plan: bool = module.check_mode
    lock = nullcontext() if plan else files.exclusively(posixpath.dirname(module.params["record"]))
    try:
        with lock:
            found, coming = converge(module.params, plan=plan)
    except NodeError as error:
        module.fail_json(msg=error.message, **error.details)
    module.exit_json(**as_result(found, coming, with_diff=module._diff))  # noqa: SLF001 - Ansible's own name for --diff


if __name__ == "__main__":
    main()
