"""What API server and etcd told, and the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kharden.controls import FromPlan
from kharden.observe import pods
from kharden.observe.examine.view import resolve
from kharden.observe.facts import Unobserved
from kharden.observe.measure import encrypted_resources
from kharden.observe.model import Finding
from kharden.observe.request import settings_paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kharden.controls.checks import (
        AuditLevel,
        DefaultServiceAccounts,
        EncryptedAtRest,
        KubeletSetting,
        KubeletSettingWithin,
        NamespacesRestricted,
        ObjectsAbsent,
        PodAdmission,
        SecretsNotAudited,
    )
    from kharden.observe.examine.view import View
    from kharden.observe.facts import Facts

_REFUSED = "Forbidden"
_BY_POD_SECURITY = "violates PodSecurity"


def kubelet_setting(check: KubeletSetting, view: View) -> Iterator[Finding]:
    """A setting of the running kubelet."""
    value = resolve(check.value, view) if isinstance(check.value, FromPlan) else check.value
    found = setting(check.path, view)
    observed = found[0] if found else check.absent
    said = str(observed) if found or check.absent is None else f"left out, which means {check.absent}"
    # JSON tells true from 1, Python's comparison doesn't.
    right = type(observed) is type(value) and observed == value
    yield Finding(f"kubelet {'.'.join(check.path)}: {value}", said, right)


def kubelet_setting_within(check: KubeletSettingWithin, view: View) -> Iterator[Finding]:
    """A list of the running kubelet has nothing else."""
    found = setting(check.path, view)
    value = found[0] if found else []
    items = [str(item) for item in value] if isinstance(value, list) else [str(value)]
    allowed = str(resolve(check.items, view)).split(",") if isinstance(check.items, FromPlan) else check.items
    expected = f"kubelet {'.'.join(check.path)} with nothing but {', '.join(allowed)}"
    right = set(items) <= set(allowed) and (bool(items) or check.may_be_empty)
    yield Finding(expected, ", ".join(items) or "not said", right)


def setting(path: tuple[str, ...], view: View) -> list[object]:
    """What the node's kubelet says at this path; nothing where it says nothing."""
    asker = view.witnesses.settings_asker(view.node)
    told = view.snapshot.facts(asker.name).at("cluster", "kubelets", view.node.name)
    answers = dict(zip(settings_paths(), told.entries(), strict=False))
    if path not in answers:
        raise Unobserved(f"{told.where}: fewer answers than questions")
    return [entry.seen() for entry in answers[path].entries()]


def pod_admission(check: PodAdmission, view: View) -> Iterator[Finding]:
    """Whether a pod was let in, and that it was Pod Security which refused it."""
    answer = view.facts.at("cluster", "pods", pods.title(check))
    admitted, reason, message = _answer(answer)
    said = "admitted" if admitted else f"{reason}: {message}"
    if check.admitted:
        yield Finding(f"{pods.title(check)} is admitted", said, admitted)
    else:
        refused = not admitted and reason == _REFUSED and _BY_POD_SECURITY in message
        yield Finding(f"{pods.title(check)} is refused by Pod Security", said, refused)


def service_accounts(_: DefaultServiceAccounts, view: View) -> Iterator[Finding]:
    """Tokens are handed out only where a pod asks for one."""
    accounts = view.cluster.at("accounts")
    for namespace in dict.fromkeys((*(one.name for one in view.plan.namespaces), *accounts.table())):
        mounts = accounts.at(namespace).flag()
        yield Finding(
            f"service account {namespace}/default mounts no token",
            "it mounts one" if mounts else "it mounts none",
            not mounts,
        )


def objects_absent(check: ObjectsAbsent, view: View) -> Iterator[Finding]:
    """The list is empty."""
    found = view.cluster.at("objects", check.path).texts()
    yield Finding(f"no {check.what}", ", ".join(found) or "none", not found)


def encrypted(_: EncryptedAtRest, view: View) -> Iterator[Finding]:
    """Every value in etcd begins with the provider's prefix; none at all proves nothing."""
    prefix = f"k8s:enc:{view.plan.encryption.provider}:"
    for resource in encrypted_resources(view.plan):
        facts = view.store.at(resource)
        counts = {begins: count.number() for begins, count in facts.at("prefixes").table().items()}
        plain, names = facts.at("plain_count").number(), facts.at("plain").texts()
        wrong = [f"{count} with {begins}" for begins, count in counts.items() if not begins.startswith(prefix)]
        wrong += [f"{plain} not encrypted, such as {', '.join(names)}"] if plain else []
        right = sum(count for begins, count in counts.items() if begins.startswith(prefix))
        expected = f"{resource}: every key in etcd begins with {prefix}"
        if counts or plain:
            yield Finding(expected, "; ".join(wrong) or f"all {right} do", not wrong)
        else:
            # Only a run that may write makes sure that there is a secret.
            unasked = view.snapshot.passive and resource == "secrets"
            yield Finding(expected, "there are none to look at", None, left_out=unasked)


def not_audited(_: SecretsNotAudited, view: View) -> Iterator[Finding]:
    """The event is there, at a level that holds no content, and the content is nowhere."""
    facts = view.facts.at("cluster", "audit")
    level, leaked = facts.at("level").text(), facts.at("leaked").flag()
    yield Finding(
        "a secret's creation is audited at level Metadata, its content is not in the log",
        f"level {level}, content {'in the log' if leaked else 'not in the log'}",
        level == "Metadata" and not leaked,
    )


def audit_level(check: AuditLevel, view: View) -> Iterator[Finding]:
    """How much of a request is in the log."""
    level = view.facts.at("cluster", "audit_levels", check.what).text()
    yield Finding(f"{check.what}: level {check.level}", f"level {level}", level == check.level)


def namespaces_restricted(check: NamespacesRestricted, view: View) -> Iterator[Finding]:
    """Pod Security itself refuses the pod in each namespace; another refusal proves nothing."""
    for name, answer in sorted(view.facts.at("cluster", "namespaces").table().items()):
        if name in check.privileged:
            continue
        admitted, reason, message = _answer(answer)
        said = "admitted" if admitted else f"{reason}: {message}"
        by_it = reason == _REFUSED and _BY_POD_SECURITY in message
        expected = f"{name}: a pod that the Pod Security Standard forbids is refused"
        yield Finding(expected, said, False if admitted else by_it or None)


def _answer(answer: Facts) -> tuple[bool, str, str]:
    return answer.at("admitted").flag(), answer.at("reason").text(), answer.at("message").text()
