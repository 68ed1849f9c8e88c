"""Controls are broken by hand on live nodes, one of nearly every kind, seen to fail there and nowhere else, repaired,
and seen to pass again. All faults that don't hide each other are made at once, so that few runs tell of many controls.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kharden.controls import control
from kharden.controls.checks import Check, PoliciesEnforced

if TYPE_CHECKING:
    from tests.faults.conftest import Bootstrap, Node, Run, Site

Report = dict[str, Any]

pytestmark = [pytest.mark.lab, pytest.mark.programs]

NODES = ("cp1", "w1")
KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"
ETCD = "/etc/kubernetes/pki/etcd"
ETCDCTL = (
    f"etcdctl --endpoints=https://127.0.0.1:2379 --cacert={ETCD}/ca.crt "
    f"--cert={ETCD}/healthcheck-client.crt --key={ETCD}/healthcheck-client.key"
)
# Manifests are changed here and put into their folder once: the kubelet runs whatever a half-done edit leaves there.
DRAFT = "/run/faults"
MANAGER = f"{DRAFT}/kube-controller-manager.yaml"
ROTATION = "RotateKubeletServerCertificate"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is done by hand to a node.

    Attributes:
        name: the test's id.
        node: where.
        command: what is done, for a shell.
        control: which control must fail of it.
        sign: a part of the expectation, and a part of what must have been observed against it.
        undo: what undoes it; where it is missing, `kharden apply` alone must repair it.
        late: it is done to the running cluster, after everything that restarts parts of it.
    """

    name: str
    node: str
    command: str
    control: str
    sign: tuple[str, str]
    undo: str = ""
    late: bool = False


def argument(name: str, edit: str, control: str, sign: tuple[str, str]) -> Fault:
    """A change of the API server's arguments in its static pod manifest."""
    return Fault(name, "cp1", f"sed -i '{edit}' {DRAFT}/kube-apiserver.yaml", control, sign)


def added(flag: str) -> str:
    """The edit that adds a flag to the arguments of a manifest."""
    return f"s|^    - --secure-port=6443$|&\\n    - --{flag}|"


FAULTS = (
    # Files.
    Fault(
        "sshd-password",
        "w1",
        "echo 'PasswordAuthentication yes' > /etc/ssh/sshd_config.d/00-a.conf",
        "sshd-keys-only",
        ("passwordauthentication no, for admin", "yes"),
        undo="rm -f /etc/ssh/sshd_config.d/00-a.conf",
    ),
    Fault(
        "sshd-weak-cipher",
        "cp1",
        "echo 'Ciphers +aes128-cbc' > /etc/ssh/sshd_config.d/00-a.conf",
        "sshd-algorithms",
        ("ciphers all strong, for root", "aes128-cbc"),
        undo="rm -f /etc/ssh/sshd_config.d/00-a.conf",
    ),
    Fault(
        "sshd-settings-changed",
        "w1",
        "sed -i 's/^PermitRootLogin no/PermitRootLogin yes/' /etc/ssh/sshd_config.d/00-kharden.conf",
        "sshd-root-login",
        ("permitrootlogin no, for root", "yes"),
    ),
    Fault(
        "file-mode",
        "cp1",
        "chmod 0644 /etc/kubernetes/admin.conf",
        "kubeconfigs-mode",
        ("admin.conf", "644, root:root"),
    ),
    Fault(
        "file-owner", "cp1", "chown nobody /etc/kubernetes/pki/sa.key", "pki-owner", ("pki/sa.key", "600, nobody:root")
    ),
    Fault(
        "file-present",
        "cp1",
        "install -m 0600 /dev/null /etc/kubernetes/super-admin.conf",
        "super-admin-kubeconfig-absent",
        ("super-admin.conf", "/etc/kubernetes/super-admin.conf"),
        "rm /etc/kubernetes/super-admin.conf",
    ),
    Fault(
        "static-pod",
        "w1",
        # A pod without containers, so that the kubelet refuses it; the file is what counts.
        "echo '{apiVersion: v1, kind: Pod, metadata: {name: foreign}}' > /etc/kubernetes/manifests/foreign.yaml",
        "static-pods-worker",
        ("/etc/kubernetes/manifests: nothing", "foreign.yaml"),
        "rm /etc/kubernetes/manifests/foreign.yaml",
    ),
    # Arguments of processes.
    argument(
        "argument-value",
        "s/--profiling=false/--profiling=true/",
        "apiserver-profiling-off",
        ("--profiling=false", "=true"),
    ),
    argument(
        "argument-present",
        added("token-auth-file=/etc/kharden/api/tokens.csv"),
        "apiserver-static-credentials-absent",
        ("without --token-auth-file", "=/etc/kharden/api/tokens.csv"),
    ),
    argument(
        "argument-item-missing",
        "s/plugins=NodeRestriction,/plugins=/",
        "apiserver-admission-plugins",
        ("--enable-admission-plugins", "=PodSecurity,EventRateLimit"),
    ),
    argument(
        "argument-item-refused",
        "s/,DenyServiceExternalIPs/,AlwaysAdmit&/",
        "apiserver-admission-defaults",
        ("without AlwaysAdmit", ",AlwaysAdmit"),
    ),
    argument(
        "argument-item-foreign",
        "s/--tls-cipher-suites=/&TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,/",
        "apiserver-tls",
        ("--tls-cipher-suites", "=TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,"),
    ),
    argument(
        "argument-too-small",
        "s/--audit-log-maxage=30/--audit-log-maxage=7/",
        "apiserver-audit-log-age",
        ("of at least 30", "=7"),
    ),
    argument(
        "alpha-feature",
        added("feature-gates=ContainerStopSignals=true"),
        "alpha-features-off",
        ("kube-apiserver says that no alpha feature is on", "ContainerStopSignals"),
    ),
    Fault(
        "feature-gate-by-hand",
        "cp1",
        "true",  # there since "alpha-feature"
        "apiserver-feature-gates",
        ("kube-apiserver with no feature gate", "ContainerStopSignals=true"),
    ),
    Fault(
        "feature-gate-off",
        "cp1",
        f"sed -i 's|^    - --profiling=false$|&\\n    - --feature-gates={ROTATION}=false|' {MANAGER}",
        "controller-manager-serving-rotation",
        (f"kube-controller-manager with {ROTATION}", f"{ROTATION}=false"),
    ),
    Fault(
        "feature-gate-of-a-kubelet",
        "w1",
        "echo 'featureGates: {EventedPLEG: false, ContainerStopSignals: true}' >> /var/lib/kubelet/config.yaml",
        "kubelet-feature-gates",
        ("kubelet with no feature gate", "ContainerStopSignals=true, EventedPLEG=false"),
    ),
    Fault(
        "alpha-feature-of-a-kubelet",
        "w1",
        "true",  # on since "feature-gate-of-a-kubelet"
        "alpha-features-off",
        ("kubelet says that no alpha feature is on", "ContainerStopSignals"),
    ),
    Fault(
        "process-owner",
        "cp1",
        f"cp /usr/bin/sleep {DRAFT}/etcd && systemd-run --quiet --unit=fault-etcd {DRAFT}/etcd infinity",
        "etcd-own-user",
        ("etcd as etcd", "as root"),
        "systemctl stop fault-etcd",
    ),
    # Programs, kernel settings, units.
    Fault(
        "running-program",
        "w1",
        "cp /usr/local/bin/containerd /run/containerd.copy && echo >> /run/containerd.copy && "
        "install -m 0755 /run/containerd.copy /usr/local/bin/containerd && rm /run/containerd.copy && "
        "systemctl restart containerd && sha256sum /usr/local/bin/containerd",
        "running-programs",
        ("containerd: sha256:", "sha256:DIGEST"),
    ),
    Fault(
        "installed-program",
        "cp1",
        "echo >> /usr/local/bin/kubeadm && sha256sum /usr/local/bin/kubeadm",
        "installed-programs",
        ("/usr/local/bin/kubeadm: sha256:", "sha256:DIGEST"),
    ),
    Fault(
        "packaged-program",
        "w1",
        "echo >> /usr/sbin/conntrack && sha256sum /usr/sbin/conntrack",
        "packaged-programs",
        ("/usr/sbin/conntrack: md5:", "sha256:DIGEST"),
        "truncate --size=-1 /usr/sbin/conntrack",
    ),
    Fault(
        "journal-volatile",
        "w1",
        "sed -i s/persistent/volatile/ /etc/systemd/journald.conf.d/90-kharden.conf",
        "journal-kept",
        ("journald: Storage=persistent", "volatile"),
    ),
    Fault(
        "journal-unbounded",
        "cp1",
        "printf '[Journal]\\nSystemMaxUse=900G\\n' > /etc/systemd/journald.conf.d/99-other.conf",
        "journal-bounded",
        ("journald: SystemMaxUse=1G", "900G"),
        "rm /etc/systemd/journald.conf.d/99-other.conf",
    ),
    Fault(
        "kernel-setting",
        "w1",
        "sysctl --quiet --write net.ipv4.conf.all.accept_redirects=1",
        "sysctl-network",
        ("net.ipv4.conf.all.accept_redirects = 0", "1"),
    ),
    Fault(
        "unit",
        "w1",
        "systemctl --quiet disable haproxy",
        "units-running",
        ("haproxy.service running, enabled", "running, not enabled"),
    ),
    # What listens and answers.
    Fault(
        "listener-node",
        "w1",
        f"systemd-run --quiet --unit=fault-open python3 -m http.server --directory {DRAFT} 8099",
        "listeners-worker",
        ("only sshd", "on tcp 0.0.0.0 8099"),
        "systemctl stop fault-open",
    ),
    Fault(
        "listener-loopback",
        "w1",
        f"systemd-run --quiet --unit=fault-local python3 -m http.server --directory {DRAFT} --bind 127.0.0.1 8098",
        "loopback-listeners-worker",
        ("only haproxy", "on tcp 127.0.0.1 8098"),
        "systemctl stop fault-local",
    ),
    Fault(
        "anonymous-request",
        "cp1",
        "echo '    - path: /version' >> /etc/kharden/api/authentication.yaml",
        "apiserver-anonymous-refused",
        ("GET /version of 10.82.0.11:6443 without credential, from w1", "200"),
    ),
    Fault(
        "foreign-node",
        "cp1",
        "true",  # NodeRestriction has gone with "argument-item-missing"
        "node-restriction-enforced",
        ("PATCH node w1 with the kubelet's credential, label kharden.dev/verify", "200"),
    ),
    Fault(
        "weak-suite-spoken",
        "cp1",
        "true",  # accepted since "argument-item-foreign"
        "tls-spoken-control-plane",
        ("handshake with 10.82.0.11:6443", "accepts weak suites"),
    ),
    # The firewall: opened, and gone.
    Fault(
        "firewall-rule",
        "w1",
        "nft insert rule inet kharden input tcp dport 31337 accept",
        "firewall-rules",
        ("chain input", "unexpected: tcp dport 31337: accept"),
    ),
    Fault(
        "firewall-gone",
        "cp1",
        "nft delete table inet kharden",
        "firewall-reach-control-plane",
        ("from w1 to 10.82.0.11:2379: dropped", "connected"),
    ),
    Fault(
        "firewall-gone-outside",
        "cp1",
        "true",  # since "firewall-gone"
        "firewall-reach-control-plane",
        ("from the controller to 10.82.0.11:6443: dropped", "connected"),
    ),
    Fault(
        "metadata",
        "w1",
        "ip address add 169.254.169.254/32 dev lo && "
        "nft insert rule inet kharden before-translation ip daddr 169.254.169.254 accept && "
        "nft insert rule inet kharden input ip daddr 169.254.169.254 accept && "
        f"systemd-run --quiet --unit=fault-metadata "
        f"python3 -m http.server --directory {DRAFT} --bind 169.254.169.254 80",
        "metadata-unreached",
        ("from a pod of w1 to 169.254.169.254:80: dropped", "connected; from the node itself: connected"),
        "systemctl stop fault-metadata; ip address delete 169.254.169.254/32 dev lo",
    ),
    Fault(
        "service-rules",
        "w1",
        # It would put them back when it next looks.
        "pkill -STOP -x kube-proxy && nft delete table ip kube-proxy",
        "service-tables",
        ("table ip kube-proxy", "missing"),
        "pkill -KILL -x kube-proxy; "
        "timeout 240 sh -c 'until nft list chain ip kube-proxy services 2> /dev/null; do sleep 0.5; done'",
    ),
    # Certificates and trust.
    Fault(
        "served-certificate",
        "cp1",
        # etcd reads them at each handshake; a member that is alone makes none itself.
        f"cp -a /etc/kharden/etcd/peer.* {DRAFT} && cat {DRAFT}/foreign.crt > /etc/kharden/etcd/peer.crt && "
        f"cat {DRAFT}/foreign.key > /etc/kharden/etcd/peer.key",
        "tls-spoken-etcd",
        ("handshake with 10.82.0.11:2380", "not signed by a CA of /etc/kubernetes/pki/etcd/ca.crt"),
        f"cp -a {DRAFT}/peer.* /etc/kharden/etcd",
    ),
    Fault(
        "certificate-file",
        "cp1",
        f"cat {DRAFT}/foreign.crt > /etc/kubernetes/pki/front-proxy-client.crt; "
        f"cat {DRAFT}/foreign.key > /etc/kubernetes/pki/front-proxy-client.key",
        "apiserver-client-certificates",
        ("front-proxy-client.crt", "not signed by a CA of /etc/kubernetes/pki/front-proxy-ca.crt"),
    ),
    Fault(
        "trusted-authority",
        "cp1",
        f"cat {DRAFT}/foreign.crt >> /etc/kubernetes/pki/client-ca.crt",
        "trusted-authorities-control-plane",
        ("client-ca.crt", "foreign is none of the cluster's"),
    ),
    Fault(
        "trusted-authority-worker",
        "w1",
        f"cp /etc/kubernetes/pki/ca.crt {DRAFT} && cat {DRAFT}/foreign.crt >> /etc/kubernetes/pki/ca.crt",
        "trusted-authorities",
        ("/etc/kubernetes/pki/ca.crt", "foreign is none of the cluster's"),
        # A node with another CA file is taken for another cluster's, so apply leaves it alone.
        f"cat {DRAFT}/ca.crt > /etc/kubernetes/pki/ca.crt",
    ),
    Fault(
        "shared-authority",
        "cp1",
        "cat /etc/kubernetes/pki/ca.crt >> /etc/kubernetes/pki/front-proxy-ca.crt",
        "etcd-own-authority",
        ("no CA in two of", "the same CA in /etc/kubernetes/pki/ca.crt and /etc/kubernetes/pki/front-proxy-ca.crt"),
    ),
    Fault(
        "kubeconfig",
        "w1",
        f"cp -a /etc/kubernetes/kubelet.conf {DRAFT} && "
        "sed -i 's/^users:$/&\\n- name: fault\\n  user:\\n    password: fault/' /etc/kubernetes/kubelet.conf",
        "kubelet-kubeconfig-sound",
        ("kubelet.conf", "holds password"),
        f"cp -a {DRAFT}/kubelet.conf /etc/kubernetes/kubelet.conf",
    ),
    # The kubelet's settings, as the running one reports them.
    Fault(
        "kubelet-setting",
        "w1",
        "echo 'readOnlyPort: 10255' >> /var/lib/kubelet/config.yaml",
        "kubelet-read-only-port-off",
        ("readOnlyPort: 0", "10255"),
    ),
    Fault(
        "kubelet-setting-list",
        "w1",
        "sed -i 's/^tlsCipherSuites:/&\\n- TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA/' /var/lib/kubelet/config.yaml",
        "kubelet-tls",
        ("kubelet tlsCipherSuites", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,"),
    ),
    Fault(
        "read-only-port",
        "w1",
        "true",  # open since "kubelet-setting"
        "kubelet-read-only-port-closed",
        ("GET /pods of 10.82.0.21:10255 without credential, plain, from w1", "200"),
    ),
    # What the cluster admits, keeps and writes down.
    Fault(
        "audit-level",
        "cp1",
        "sed -i 's/level: RequestResponse/level: Metadata/' /etc/kharden/api/audit-policy.yaml",
        "audit-levels",
        ("a role is deleted: level RequestResponse", "level Metadata"),
    ),
    Fault(
        "exempt-namespace",
        "cp1",
        "sed -i 's/namespaces: \\[\\]/namespaces: [kube-public]/' /etc/kharden/api/admission.yaml",
        "pod-security-everywhere",
        ("kube-public: a pod that the Pod Security Standard forbids", "admitted"),
    ),
    Fault(
        "audited-content",
        "cp1",
        "sed -i '0,/level: Metadata/s//level: RequestResponse/' /etc/kharden/api/audit-policy.yaml",
        "audit-keeps-secrets-out",
        ("is audited at level Metadata", "level RequestResponse, content in the log"),
    ),
    Fault(
        "admitted-pod",
        "cp1",
        f"{KUBECTL} label --overwrite namespace default pod-security.kubernetes.io/enforce=privileged",
        "pod-security-enforced",
        ("is refused by Pod Security", "admitted"),
        late=True,
    ),
    Fault(
        "node-taint",
        "cp1",
        f"{KUBECTL} taint node cp1 node-role.kubernetes.io/control-plane-",
        "node-marks",
        ("taint node-role.kubernetes.io/control-plane:NoSchedule", "none"),
        late=True,
    ),
    Fault(
        "namespace-level",
        "cp1",
        f"{KUBECTL} label --overwrite namespace kube-public pod-security.kubernetes.io/audit=privileged",
        "namespaces-pod-security",
        ("namespace kube-public: audit restricted", "privileged, latest"),
        late=True,
    ),
    Fault(
        "network-policy",
        "cp1",
        f"{KUBECTL} --namespace=apps delete networkpolicy default-deny",
        "network-policies-present",
        ("NetworkPolicy apps/default-deny", "there is none"),
        late=True,
    ),
    Fault(
        "quota",
        "cp1",
        f"{KUBECTL} --namespace=apps patch resourcequota kharden --type=merge "
        """--patch='{"spec": {"hard": {"pods": "500"}}}'""",
        "namespaces-bounded",
        ("ResourceQuota apps/kharden", '"pods": "500"'),
        late=True,
    ),
    Fault(
        "limits",
        "cp1",
        f"{KUBECTL} --namespace=apps patch limitrange kharden --type=json "
        """--patch='[{"op": "replace", "path": "/spec/limits/0/default/cpu", "value": "400m"}]'""",
        "namespace-bounds-enforced",
        ("a pod without limits in apps gets", '"cpu": "400m"'),
        late=True,
    ),
    Fault(
        "service-account",
        "cp1",
        f"{KUBECTL} patch serviceaccount default --patch '{{\"automountServiceAccountToken\": true}}'",
        "default-service-accounts-unmounted",
        ("service account default/default", "it mounts one"),
        late=True,
    ),
    Fault(
        "bootstrap-token",
        "cp1",
        "kubeadm --kubeconfig=/etc/kubernetes/admin.conf token create fault0.faultfaultfault0 --ttl=10m",
        "bootstrap-tokens-absent",
        ("no bootstrap token", "kube-system/bootstrap-token-fault0"),
        "kubeadm --kubeconfig=/etc/kubernetes/admin.conf token delete fault0",
        late=True,
    ),
    Fault(
        "encryption-at-rest",
        "cp1",
        # Not below secrets: an API server that meets a value it can't decrypt doesn't list those any more.
        f"{ETCDCTL} put /registry/configmaps/default/plain in-the-clear",
        "etcd-encryption-at-rest",
        ("configmaps: every key in etcd begins with", "1 not encrypted, such as /registry/configmaps/default/plain"),
        f"{ETCDCTL} del /registry/configmaps/default/plain",
        late=True,
    ),
)


def foreign_authority() -> tuple[bytes, bytes]:
    """Certificate and key of a CA that nobody knows, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "foreign")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(encoding), private


PREPARE = """
mkdir -p {draft}
cat > {draft}/foreign.crt <<'END'
{certificate}END
cat > {draft}/foreign.key <<'END'
{key}END
cp -a /etc/kubernetes/manifests/. {draft}/
"""
DIGEST = re.compile(r"^([0-9a-f]{64})  (\S+)$", re.MULTILINE)
# What was changed goes into its place at once, and the new processes are waited for.
SETTLE = {
    "cp1": f"""
install -m 0600 /dev/null /etc/kharden/api/tokens.csv
mv {DRAFT}/kube-apiserver.yaml /etc/kubernetes/manifests/kube-apiserver.yaml
mv {MANAGER} /etc/kubernetes/manifests/kube-controller-manager.yaml
pkill -KILL -x kube-apiserver  # it would wait for its watchers to go, for half a minute
await() {{ timeout 240 sh -c "until $1; do sleep 0.3; done" || {{ echo "not in time: $1" >&2; exit 1; }}; }}
await 'pgrep --full "^kube-apiserver .*--audit-log-maxage=7" > /dev/null'
await 'pgrep --full "^kube-controller-manager .*--feature-gates={ROTATION}=false" > /dev/null'
await '{KUBECTL} get --raw=/readyz > /dev/null 2>&1'
""",
    "w1": """
systemctl restart kubelet
timeout 240 sh -c "until ss --listening --tcp --numeric | grep --quiet :10255; do sleep 0.3; done"
""",
}


def script(node: str, *, late: bool) -> str:
    """Everything that is done to a node, before or after its parts have restarted."""
    return "".join(f"({fault.command})\n" for fault in FAULTS if fault.node == node and fault.late is late)


def undoing(node: str) -> str:
    return "".join(f"({fault.undo}) > /dev/null\n" for fault in FAULTS if fault.node == node and fault.undo)


@dataclass(frozen=True, slots=True)
class Rounds:
    """What verify said, and the digests of the programs that were changed, by the command that told them."""

    before: Report
    broken: Report
    repaired: Report
    digests: dict[str, str]


def verified(kharden: Run) -> Report:
    report: Report = json.loads(kharden("verify", "--json", status=2).stdout)
    return report


def all_well(kharden: Run, site: Site) -> Report:
    """A report in which everything passes; by its text, so that a failure shows what doesn't."""
    kharden("verify")
    newest = max((site.root / "evidence" / site.cluster).iterdir())
    report: Report = json.loads((newest / "report.json").read_text(encoding="utf-8"))
    return report


@pytest.fixture(scope="module")
def rounds(site: Site, kharden: Run, node: Node, bootstrap: Bootstrap) -> Rounds:
    certificate, key = (pem.decode() for pem in foreign_authority())
    digests: dict[str, str] = {}
    for name in NODES:
        prepare = PREPARE.format(draft=DRAFT, certificate=certificate, key=key)
        said = node(name, prepare + script(name, late=False) + SETTLE[name])
        digests |= {f"sha256sum {path}": digest for digest, path in DIGEST.findall(said)}
    node("cp1", script("cp1", late=True))
    broken = verified(kharden)
    for name in NODES:
        node(name, undoing(name) + f"rm -r {DRAFT}")
    kharden("apply", "--yes")
    return Rounds(bootstrap.report, broken, all_well(kharden, site), digests)


def judgement(report: Report, identifier: str) -> dict[str, Any]:
    (found,) = (one for one in report["controls"] if one["id"] == identifier)
    return dict(found)


def signs(report: Report, fault: Fault, digests: dict[str, str]) -> list[str]:
    """The nodes on which the deviation was observed."""
    expected, observed = fault.sign
    for command, digest in digests.items():
        if fault.command.endswith(command):
            observed = observed.replace("DIGEST", digest)
    return [
        one["node"]
        for one in judgement(report, fault.control)["observations"]
        if expected in one["expected"] and observed in one["observed"]
    ]


each = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


@each
def test_what_is_broken_fails_on_its_node_and_says_why(rounds: Rounds, fault: Fault) -> None:
    assert judgement(rounds.before, fault.control)["verdict"] == "pass"
    assert signs(rounds.before, fault, rounds.digests) == []
    assert judgement(rounds.broken, fault.control)["verdict"] == "fail"
    assert set(signs(rounds.broken, fault, rounds.digests)) == {fault.node}


@each
def test_what_is_repaired_passes_again(rounds: Rounds, fault: Fault) -> None:
    assert judgement(rounds.repaired, fault.control)["verdict"] == "pass"
    assert signs(rounds.repaired, fault, rounds.digests) == []


def test_every_kind_of_check_is_broken_once() -> None:
    broken = {type(check) for fault in FAULTS for check in control(fault.control).all_checks}
    broken.add(PoliciesEnforced)  # the lab's own network breaks it, see below
    assert broken == set(get_args(Check))


def test_a_network_that_keeps_no_pods_apart_is_told_by_a_connection(rounds: Rounds) -> None:
    found = judgement(rounds.before, "network-policies-enforced")
    seen = [(one["expected"].partition(" to ")[2], one["observed"]) for one in found["observations"]]
    assert found["verdict"] == "manual"
    assert seen[0] == ("DNS, port 53: connected", "connected")
    assert seen[1][0] == "DNS, port 9153 (metrics): no answer"
    assert seen[1][1].startswith("connected: spec.network.plugin has no enforcement")


def test_what_cannot_be_seen_is_unknown_and_never_passes(site: Site, kharden: Run, node: Node) -> None:
    node("w1", "systemctl stop ssh")
    node("cp1", "mv /usr/bin/python3 /usr/bin/python3.away")
    try:
        report = verified(kharden)
    finally:
        node("w1", "systemctl start ssh")
        node("cp1", "mv /usr/bin/python3.away /usr/bin/python3")
    assert {control["verdict"] for control in report["controls"]} == {"unknown", "not-applicable"}
    unknown = [control for control in report["controls"] if control["verdict"] == "unknown"]
    signs = ("can't be reached (", "the collector failed there (")
    # What this machine sees of their ports it still sees.
    asked = [
        one for control in unknown for one in control["observations"] if "from the controller" not in one["expected"]
    ]
    said = [one["observed"] for one in asked]
    assert [text for text in said if not any(sign in text for sign in signs)] == []
    all_well(kharden, site)
