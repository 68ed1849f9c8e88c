# SPDX-License-Identifier: Apache-2.0
"""Ansible module: objects of the cluster as they shall be, by server-side apply, without those that kharden left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:  # the same files, where mypy finds them
    from playbooks.module_utils.kharden import api_objects
    from playbooks.module_utils.kharden.errors import NodeError
else:
    from ansible.module_utils.kharden import api_objects
    from ansible.module_utils.kharden.errors import NodeError

DOCUMENTATION = r"""
module: objects
short_description: Objects of the cluster, applied on the server's side, and pruned
description:
  - Compares what the API server would make of the given objects with what it has, and applies those that differ.
  - Removes objects of the kinds in O(prune) that are not given any more and that kharden placed. Whose an object is
    follows from three things together - its label, an annotation that names the object itself, and the server's record
    that the field manager C(kharden) applied it. Nothing else is ever removed, and no namespace and no node at all.
  - Names namespaces that kharden placed and that are not given any more. They stay, with everything in them.
  - Labels of a node that are not given any more go by server-side apply itself, if nobody else set them. The API keeps
    no owner of a single taint, so the given ConfigMap C(kharden-taints) of kube-system, as it was before, tells which
    are kharden's. Others' stay. A kubelet can write to its own Node, so the record lies elsewhere.
  - Of a Secret it tells which values differ, and never a value. RV(changes) has a C(stamp) of it instead.
  - Removes bootstrap tokens of kharden's own joins. A join deletes its token itself, unless it is cut off.
version_added: "0.1.0"
author:
  - The kharden authors
options:
  wanted:
    description: The objects, as the API takes them. Nodes are only marked, never made.
    type: list
    elements: dict
    required: true
  prune:
    description: Kinds of which objects may be removed, as kubectl calls them.
    type: list
    elements: str
    default: [networkpolicies.networking.k8s.io, resourcequotas, limitranges]
  kubectl:
    description: The program.
    type: path
    default: /usr/local/bin/kubectl
  kubeconfig:
    description: How it reaches the API.
    type: path
    default: /etc/kubernetes/admin.conf
  cache:
    description: Where kubectl keeps what it learnt of the API. It should be on tmpfs.
    type: path
    default: /run/kharden-kubectl
attributes:
  check_mode:
    description: Tells what differs and what would be removed. The server is asked by dry runs.
    support: full
  diff_mode:
    description: The differences are in RV(changes).
    support: none
"""

EXAMPLES = r"""
- name: Objects of the cluster
  objects:
    wanted: "{{ query('ansible.builtin.file', *paths) | map('from_yaml_all') | flatten(1) }}"
"""

RETURN = r"""
changes:
  description: What was, or would be, changed - each with its C(path), C(action) (create, update or remove) and C(diff).
  returned: always
  type: list
  elements: dict
notes:
  description: What a person should know and nothing was done about.
  returned: always
  type: list
  elements: str
"""

ARGUMENTS = {
    "wanted": {"type": "list", "elements": "dict", "required": True},
    "prune": {
        "type": "list",
        "elements": "str",
        "default": ["networkpolicies.networking.k8s.io", "resourcequotas", "limitranges"],
    },
    "kubectl": {"type": "path", "default": "/usr/local/bin/kubectl"},
    "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
    "cache": {"type": "path", "default": "/run/kharden-kubectl"},
}
_NAMESPACE = "Namespace"
_NODE = "Node"
_DEFAULT = "default"
_OWN_FIELDS = "(these fields become kharden's)"


class Comparison:
    """What differs between the cluster and what is wanted, and what is done about it."""

    def __init__(self, api: api_objects.Kubectl, wanted: list[api_objects.Object], prune: list[str]) -> None:
        self.api = api
        # By server-side apply a node's taints would become one field of ours: they are merged apart.
        self.taints = {
            item["metadata"]["name"]: item["spec"].get("taints") or [] for item in wanted if item["kind"] == _NODE
        }
        self.wanted = [_marks(item) if item["kind"] == _NODE else item for item in wanted]
        self.prune = prune
        self.changes: list[dict[str, Any]] = []
        self.done: list[str] = []  # names in `changes` that were carried out
        self.notes: list[str] = []

    def run(self, *, plan: bool) -> None:
        """Compare, and apply unless it is a plan."""
        live = self.api.found(self.wanted)
        self.wanted = [_where_it_is(item, live) for item in self.wanted]
        differing = self._differing(live)
        taints = self._taints(live)
        leftovers = self._leftovers() + self._tokens()
        if plan:
            return
        # The record of which taints are ours is among the objects: what it still lists is removed before it is not.
        for name, patch in taints:
            self.api.patch_node(name, patch)
            self.done.append(_taints_of(name))
        self.api.applied(differing, dry=False)
        self.done += map(api_objects.identity, differing)
        for item in leftovers:
            self.api.delete(item)
            self.done.append(api_objects.identity(item))

    def so_far(self) -> list[dict[str, Any]]:
        """What was carried out."""
        return [change for change in self.changes if change["path"] in self.done]

    def _differing(self, live: dict[str, api_objects.Object]) -> list[api_objects.Object]:
        there = {item["metadata"]["name"] for item in live.values() if item["kind"] == _NAMESPACE}
        known = [item for item in self.wanted if item["metadata"].get("namespace", _DEFAULT) in there]
        known = [item for item in known if item["kind"] != _NODE or api_objects.identity(item) in live]
        after = self.api.applied(known, dry=True)
        differing = []
        for item in self.wanted:
            name = api_objects.identity(item)
            if name not in live:
                if item["kind"] == _NODE:
                    self.notes.append(f"node {item['metadata']['name']} isn't in the cluster yet, so it isn't marked")
                    continue
                self._note(name, "create", api_objects.difference(None, item, name))
            elif api_objects.differ(live[name], after[name]):
                diff = api_objects.difference(live[name], after[name], name) or _OWN_FIELDS
                self._note(name, "update", diff, **api_objects.stamp(live[name]))
            else:
                continue
            differing.append(item)
        return differing

    def _taints(self, live: dict[str, api_objects.Object]) -> list[tuple[str, list[api_objects.Object]]]:
        patches = []
        for name, wanted in self.taints.items():
            node = live.get(f"{_NODE}//{name}")
            if node is None:
                continue
            present = node["spec"].get("taints") or []
            merged = api_objects.merged_taints(present, wanted, api_objects.recorded_taints(live, name))
            before, after = ({api_objects.taint_text(one) for one in each} for each in (present, merged))
            if before != after:
                lines = [f"-{one}" for one in sorted(before - after)] + [f"+{one}" for one in sorted(after - before)]
                self._note(_taints_of(name), "update", "\n".join(lines))
                patches.append((name, api_objects.taints_patch(present, merged)))
        return patches

    def _leftovers(self) -> list[api_objects.Object]:
        wanted = {api_objects.identity(item) for item in self.wanted}
        managed = self.api.managed(["namespaces", *self.prune])
        ours = {name: item for name, item in managed.items() if name not in wanted and api_objects.is_ours(item)}
        leftovers = []
        for name, item in ours.items():
            own = item["metadata"]["name"]
            if item["kind"] == _NAMESPACE:
                self.notes.append(
                    f"namespace {own} isn't in cluster.yaml any more and stays, with what is in it; "
                    f"kubectl delete namespace {own} removes both"
                )
            elif "deletionTimestamp" not in item["metadata"]:
                self._note(name, "remove", api_objects.difference(item, None, name))
                leftovers.append(item)
        return leftovers

    def _tokens(self) -> list[api_objects.Object]:
        """Nobody joins while objects are compared, so a token of a join is one of a join that was cut off."""
        tokens = self.api.join_tokens()
        for token, description in tokens:
            self._note(api_objects.identity(token), "remove", f"(left by a run that was cut off: {description})")
        return [token for token, _ in tokens]

    def _note(self, name: str, action: str, diff: str, **more: str) -> None:
        self.changes.append({"path": name, "action": action, "diff": diff} | more)


def _where_it_is(item: api_objects.Object, live: dict[str, api_objects.Object]) -> api_objects.Object:
    """With the namespace that kubectl took for it, where it names none and isn't the cluster's own."""
    if item["metadata"].get("namespace"):
        return item
    there = item | {"metadata": item["metadata"] | {"namespace": _DEFAULT}}
    return there if api_objects.identity(there) in live else item


def _taints_of(node: str) -> str:
    return f"{_NODE}//{node}: taints"


def _marks(node: api_objects.Object) -> api_objects.Object:
    return {key: value for key, value in node.items() if key != "spec"}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    api = api_objects.Kubectl(params["kubectl"], params["kubeconfig"], params["cache"])
    comparison = Comparison(api, params["wanted"], params["prune"])
    try:
        comparison.run(plan=module.check_mode)
    except NodeError as error:
        module.fail_json(msg=error.message, changes=comparison.so_far(), **error.details)
    module.exit_json(changed=bool(comparison.changes), changes=comparison.changes, notes=comparison.notes)


if __name__ == "__main__":
    main()
