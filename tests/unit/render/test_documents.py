"""What the rendered documents mean, read back by somebody who knows nothing of templates."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from .stand_ins import rendered, stand_ins

if TYPE_CHECKING:
    from kharden.plan.model import ClusterPlan
    from kharden.render.cluster import Build


def document(build: Build, node: str, path: str) -> dict[str, Any]:
    files = next(each.files for each in build.nodes if each.node == node)
    content: dict[str, Any] = yaml.safe_load(next(file.content for file in files if file.path == path))
    return content


# --- kubeconfigs


@pytest.mark.parametrize(
    ("name", "user", "leaf"),
    [
        ("admin", "kubernetes-admin", "admin"),
        ("controller-manager", "system:kube-controller-manager", "controller-manager"),
        ("scheduler", "system:kube-scheduler", "scheduler"),
    ],
)
def test_a_kubeconfig_has_its_users_own_pair_and_leads_to_the_right_server(
    plan: ClusterPlan, name: str, user: str, leaf: str
) -> None:
    secrets = stand_ins(plan)
    build = rendered(plan, secrets)
    for node in plan.control_planes:
        content = document(build, node.name, f"/etc/kubernetes/{name}.conf")
        (context,) = content["contexts"]
        assert content["current-context"] == context["name"] == f"{user}@{plan.name}"
        assert context["context"] == {"cluster": plan.name, "user": user}
        (cluster,), (own,) = content["clusters"], content["users"]
        assert (cluster["name"], own["name"]) == (plan.name, user)
        assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]) == secrets.authority
        pair = secrets.leaves.nodes[node.name][leaf]
        assert base64.b64decode(own["user"]["client-certificate-data"]) == pair.certificate
        assert base64.b64decode(own["user"]["client-key-data"]) == pair.key
        host = f"[{node.address}]" if node.address.version == 6 else node.address
        # A component goes by its own API server (kubeadm's way), people by the balancer.
        assert cluster["cluster"]["server"] == ("https://127.0.0.1:7443" if name == "admin" else f"https://{host}:6443")


# --- what the API server reads


def test_nothing_is_written_in_plain_and_the_first_key_encrypts(plan: ClusterPlan) -> None:
    secrets = stand_ins(plan)
    build = rendered(plan, secrets)
    for node in plan.control_planes:
        content = document(build, node.name, "/etc/kharden/api/encryption.yaml")
        (rule,) = content["resources"]
        assert tuple(rule["resources"]) == plan.encryption.resources
        (provider,) = rule["providers"]
        keys = provider.pop(plan.encryption.provider)["keys"]
        assert provider == {}
        assert [base64.b64decode(key["secret"]) for key in keys] == [key.secret for key in secrets.data.encryption_keys]
        assert [key["name"] for key in keys] == [key.name for key in secrets.data.encryption_keys]


def test_nobody_is_let_in_but_to_the_health_paths(build: Build) -> None:
    content = document(build, "cp1", "/etc/kharden/api/authentication.yaml")
    paths = [condition["path"] for condition in content["anonymous"]["conditions"]]
    assert (content["anonymous"]["enabled"], paths) == (True, ["/livez", "/readyz", "/healthz"])
    assert "jwt" not in content


def test_admission_is_what_cluster_yaml_asks_for(build: Build, plan: ClusterPlan) -> None:
    plugins = {each["name"]: each for each in document(build, "cp1", "/etc/kharden/api/admission.yaml")["plugins"]}
    limits = [(one["type"], one["qps"], one["burst"]) for one in plugins["EventRateLimit"]["configuration"]["limits"]]
    assert limits == [(one.type, one.qps, one.burst) for one in plan.admission.event_rate_limits]
    security = plugins["PodSecurity"]["configuration"]
    assert {security["defaults"][mode] for mode in ("enforce", "audit", "warn")} == {plan.admission.pod_security}
    assert security["defaults"]["enforce-version"] == f"v{plan.minor}"
    exemptions = {name: tuple(items) for name, items in security["exemptions"].items()}
    own = plan.admission
    assert exemptions == {
        "usernames": own.exempt_usernames,
        "runtimeClasses": own.exempt_runtime_classes,
        "namespaces": own.exempt_namespaces,
    }
    assert any(exemptions.values()) == (plan.name == "ha")


# --- the audit policy, asked as the API server asks it: the first rule that fits decides


def level(policy: dict[str, Any], verb: str, group: str, resource: str) -> str:
    for rule in policy["rules"]:
        if "nonResourceURLs" in rule or verb not in rule.get("verbs", [verb]):
            continue
        groups = rule.get("resources")
        if groups is None or any(
            each["group"] == group and resource in each.get("resources", [resource]) for each in groups
        ):
            return str(rule["level"])
    return "None"


@pytest.mark.parametrize(
    ("verb", "group", "resource", "wanted"),
    [
        # What may hold secrets is never logged with its content.
        *((verb, "", resource, "Metadata") for verb in ("get", "list", "create", "update", "patch", "delete")
          for resource in ("secrets", "configmaps", "serviceaccounts/token")),
        ("create", "authentication.k8s.io", "tokenreviews", "Metadata"),
        # Custom resources may hold anything.
        ("create", "widgets.example.com", "widgets", "Metadata"),
        # Who may do what is logged wholly, where it changes.
        ("create", "rbac.authorization.k8s.io", "clusterroles", "RequestResponse"),
        ("delete", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "RequestResponse"),
        ("patch", "", "namespaces", "RequestResponse"),
        ("get", "rbac.authorization.k8s.io", "clusterroles", "Metadata"),
        ("create", "", "pods/exec", "Metadata"),
        # Noise.
        ("update", "coordination.k8s.io", "leases", "None"),
        ("create", "", "events", "None"),
    ],
)  # fmt: skip
def test_the_audit_log_has_who_did_what_and_no_secret(
    build: Build, verb: str, group: str, resource: str, wanted: str
) -> None:
    assert level(document(build, "cp1", "/etc/kharden/api/audit-policy.yaml"), verb, group, resource) == wanted


def test_what_is_encrypted_at_rest_is_not_in_the_log_either(build: Build, plan: ClusterPlan) -> None:
    policy = document(build, "cp1", "/etc/kharden/api/audit-policy.yaml")
    for name in plan.encryption.resources:
        resource, _, group = name.partition(".")
        for verb in ("create", "update", "patch", "get"):
            assert level(policy, verb, group, resource) in {"None", "Metadata"}, name


# --- etcd


def test_etcd_runs_as_the_user_that_its_own_keys_belong_to(build: Build, plan: ClusterPlan) -> None:
    if plan.etcd_machines:  # see test_etcd.py
        assert not [file for node in build.nodes for file in node.files if "patches" in file.path]
        return
    patch = document(build, "cp1", "/etc/kharden/kubeadm/patches/etcd+strategic.yaml")["spec"]
    (volume,) = patch["volumes"]
    folder = volume["hostPath"]["path"]
    files = {file.path: file for file in build.nodes[0].files if file.path.startswith(f"{folder}/")}
    owners = {(file.owner, file.group) for file in files.values()}
    user = patch["securityContext"]
    assert owners == {(str(user["runAsUser"]), str(user["runAsGroup"]))}
    assert user["runAsUser"] != 0
    copied = {path.removeprefix(f"{folder}/"): file.content for path, file in files.items()}
    originals = "/etc/kubernetes/pki/etcd/"
    assert copied == {
        file.path.removeprefix(originals): file.content
        for file in build.nodes[0].files
        if file.path.startswith(originals)
    }


# --- the cluster's own objects


def test_every_namespace_of_a_new_cluster_has_a_level_and_its_accounts_no_token(
    build: Build, plan: ClusterPlan
) -> None:
    manifests = {item.name: list(yaml.safe_load_all(item.content)) for item in build.cluster}
    label = "pod-security.kubernetes.io/enforce"
    levels = {item["metadata"]["name"]: item["metadata"]["labels"][label] for item in manifests["namespaces.yaml"]}
    assert levels == {
        "kube-system": "privileged",
        "kube-public": "restricted",
        "kube-node-lease": "restricted",
        "default": plan.admission.pod_security,
    } | ({"shop": "baseline", "tools": "restricted"} if plan.name == "ha" else {})
    versions = {item["metadata"]["labels"][f"{label}-version"] for item in manifests["namespaces.yaml"]}
    assert versions == {f"v{plan.minor}"}
    accounts = manifests["service-accounts.yaml"]
    assert {account["metadata"]["namespace"] for account in accounts} == levels.keys()
    assert {account["metadata"]["name"] for account in accounts} == {"default"}
    assert {account["automountServiceAccountToken"] for account in accounts} == {False}


@pytest.mark.parametrize("minor", ["1.35", "1.36", "1.37"])
def test_every_object_of_the_cluster_has_its_kinds_schema(build: Build, minor: str) -> None:
    for manifest in build.cluster:
        for item in yaml.safe_load_all(manifest.content):
            kubernetes_validate.validate(item, minor, strict=True)


def test_a_default_deny_closes_both_ways_and_leaves_dns_open(build: Build) -> None:
    policies = {
        (item["metadata"]["namespace"], item["metadata"]["name"]): item["spec"]
        for manifest in build.cluster
        if manifest.name == "network-policies.yaml"
        for item in yaml.safe_load_all(manifest.content)
    }
    for namespace in {namespace for namespace, _ in policies}:
        assert policies[namespace, "default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        (rule,) = policies[namespace, "allow-dns"]["egress"]
        assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert ("tools", "default-deny") not in policies


def test_egress_never_reaches_the_metadata_of_a_machine(build: Build, plan: ClusterPlan) -> None:
    blocks = [
        peer["ipBlock"]
        for manifest in build.cluster
        if manifest.name == "network-policies.yaml"
        for item in yaml.safe_load_all(manifest.content)
        for rule in item["spec"].get("egress", ())
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    assert len(blocks) == (2 if plan.name == "ha" else 0)
    for block in blocks:
        assert block["except"] == (
            ["fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128"] if ":" in block["cidr"] else ["169.254.0.0/16"]
        )
