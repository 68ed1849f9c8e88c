"""The collector, run as it runs on a node: a python3 of its own that is given one text."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kharden.observe.collector import journal, kernel, packages, processes, sshd
from kharden.observe.collector.cluster import how_stored, try_namespaces
from kharden.observe.collector.features import alpha
from kharden.observe.collector.processes import decode_address
from kharden.observe.shipping import program
from tests.unit.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_CANARY = "canary-5f1d0c2e"
_NOTHING: dict[str, Any] = {
    **{name: [] for name in ("patterns", "folders", "digests", "packaged", "certificates", "kubeconfigs")},
    **{name: [] for name in ("programs", "sysctls", "interfaces", "units")},
    "handshakes": {},
    "probes": {},
    "features": {},
    "firewall": "kharden",
    "sshd": {},
    "from_here": {},
    "cluster": None,
}


def _collect(**wanted: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    text = program(_NOTHING | wanted)
    done = subprocess.run([sys.executable, "-I", "-"], input=text, capture_output=True, text=True, check=True)
    assert _CANARY not in done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _probe(port: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    asked = {
        "host": "127.0.0.1",
        "port": port,
        "method": "GET",
        "path": "/",
        "headers": {},
        "body": None,
        "credential": [],
        "over_tls": True,
    }
    answer: dict[str, Any] = _collect(probes={"asked": asked | fields})["probes"]["asked"]
    return answer


class Pair:
    """A self-signed certificate and its key, in files."""

    def __init__(self, folder: Path, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.pem = made.public_bytes(serialization.Encoding.PEM)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.pem + key.private_bytes(*form))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("strangers"), "strangers")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = {"kind": "Status", "message": "go away"} if self.path == "/status" else {"secret": _CANARY}
        body = json.dumps(status).encode()
        self.send_response(401 if self.path == "/status" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        pass  # clients that are refused are what it is for


@contextmanager
def _serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = _Server(("127.0.0.1", 0), _Handler)
    if context is not None:
        # The handshake is the handler's business, so that one client can't keep the others waiting.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _tls(pair: Pair, *, clients: Pair | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.file)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.pem.decode())
    return context


def test_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir(mode=0o750)
    (tmp_path / "sub" / ".hidden.key").touch(mode=0o600)
    pattern, other = f"{tmp_path}/**/*.key", f"{tmp_path}/none"
    found = _collect(patterns=[pattern, other, str(tmp_path / "sub")])["files"]
    path = f"{tmp_path}/sub/.hidden.key"
    assert found[pattern][path]["mode"] == 0o600
    assert found[pattern][path]["type"] == "file"
    assert found[other] == {}
    assert found[str(tmp_path / "sub")][str(tmp_path / "sub")]["type"] == "folder"


def test_folders_and_digests(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"")
    (tmp_path / "a").touch()
    seen = _collect(folders=[str(tmp_path), "/no/such"], digests=[str(tmp_path / "b"), "/no/such"])
    assert seen["folders"] == {str(tmp_path): ["a", "b"], "/no/such": []}
    assert seen["digests"][str(tmp_path / "b")].startswith("e3b0c44298fc1c14")
    assert "FileNotFoundError" in seen["digests"]["/no/such"]["error"]


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="no dpkg: not a Debian machine")
def test_a_program_of_a_package_is_held_against_what_the_package_brought(tmp_path: Path) -> None:
    program = shutil.which("dpkg-query") or ""
    seen = packages.packaged(program)
    assert seen["package"] == "dpkg"
    assert seen["version"]
    assert seen["listed"] == seen["md5"] == hashlib.md5(Path(program).read_bytes(), usedforsecurity=False).hexdigest()
    copy = tmp_path / "dpkg-query"
    shutil.copy(program, copy)
    assert packages.packaged(str(copy)) == {**seen, "package": "", "version": "", "listed": ""}
    with pytest.raises(FileNotFoundError):
        packages.packaged(str(tmp_path / "none"))


@pytest.mark.skipif(shutil.which("ip") is None, reason="no ip: not a Debian machine with iproute2")
def test_a_path_that_was_moved_into_usr_is_found() -> None:
    found = packages.packaged(shutil.which("ip") or "")
    assert (found["package"], found["listed"]) == ("iproute2", found["md5"])


def test_the_last_setting_of_the_journal_counts() -> None:
    shown = (
        "# /etc/systemd/journald.conf\n[Journal]\n#Storage=auto\nStorage=none\n[Other]\nStorage=x\n"
        "# /etc/systemd/journald.conf.d/90-kharden.conf\n[Journal]\nStorage = persistent\n"
        "; Compress=no\nSystemMaxUse=\n"
    )
    assert journal.settings(shown) == {"Storage": "persistent", "SystemMaxUse": ""}


def test_certificates_come_without_what_lies_beside_them(tmp_path: Path, ours: Pair) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(ours.file.read_bytes() + f"-----BEGIN SECRET-----\n{_CANARY}\n".encode())
    config = tmp_path / "admin.conf"
    embedded = base64.b64encode(ours.pem).decode()
    secret = base64.b64encode(_CANARY.encode()).decode()
    config.write_text(
        f'users:\n  - user:\n      client-certificate-data: "{embedded}"\n      client-key-data: {secret}\n'
    )
    seen = _collect(certificates=[str(both), str(config)])["certificates"]
    assert [pem.encode() + b"\n" for pem in seen[str(both)]] == [ours.pem]
    assert seen[str(config)] == seen[str(both)]
    assert secret not in json.dumps(seen)


def test_kubeconfig_without_its_credentials(tmp_path: Path) -> None:
    sound, unsound = tmp_path / "sound", tmp_path / "unsound"
    sound.write_text(
        "clusters:\n- cluster:\n    certificate-authority-data: AAAA\n    server: https://127.0.0.1:7443\n"
        'contexts:\n  - name: "x"\n    context:\n      cluster: x\ncurrent-context: x\n'
        "users:\n- name: x\n  user:\n    client-certificate: /a\n"
    )
    unsound.write_text(
        "clusters:\n- cluster:\n    insecure-skip-tls-verify: true\n    server: http://a\n"
        f"users:\n- user:\n    token: {_CANARY}\n    password: {_CANARY}\n"
    )
    seen = _collect(kubeconfigs=[str(sound), str(unsound)])["kubeconfigs"]
    assert seen[str(sound)] == {
        "servers": ["https://127.0.0.1:7443"],
        "contexts": 1,
        "embedded_authorities": 1,
        "unverified": False,
        "credentials": [],
    }
    assert (seen[str(unsound)]["unverified"], seen[str(unsound)]["credentials"]) == (True, ["password", "token"])


def test_a_socket_that_opens_while_it_looks_has_its_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    look, looks = processes._holders, [0]  # noqa: SLF001  # one of the two readings between which it opens

    def holders() -> dict[str, set[str]]:
        looks[0] += 1
        return look() if looks[0] > 1 else {}

    monkeypatch.setattr(processes, "_holders", holders)
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        (found,) = (one for one in processes.sockets() if one["port"] == port and one["protocol"] == "tcp")
    assert found["programs"]


def test_processes_and_the_sockets_that_they_hold() -> None:
    own = os.path.basename(os.path.realpath(sys.executable))  # noqa: PTH119  # Path.name would do the same, longer
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waiting,
    ):
        waiting.bind(("127.0.0.1", 0))
        seen = _collect(programs=[own])
        for protocol, held in (("tcp", listener), ("udp", waiting)):
            wanted = {"protocol": protocol, "address": "127.0.0.1", "port": held.getsockname()[1]}
            assert [one["programs"] for one in seen["sockets"] if one | wanted == one] == [[own]]
    (process,) = (one for one in seen["processes"] if one["pid"] == os.getpid())
    assert process["argv"][1:] == sys.orig_argv[1:]
    assert len(process["sha256"]) == 64


def test_ports_that_listen_no_more_are_gone() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert port in [one["port"] for one in _collect()["sockets"]]
    assert port not in [one["port"] for one in _collect()["sockets"]]


@pytest.mark.skipif(sys.byteorder != "little", reason="the texts are those of a little-endian machine")
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000", "0.0.0.0"),  # noqa: S104  # an address to decode
        ("0" * 32, "::"),
        ("00000000000000000000000001000000", "::1"),
        ("0000000000000000FFFF00000100007F", "::ffff:127.0.0.1"),
        ("B80D0120000000000000000001000000", "2001:db8::1"),
    ],
)
def test_addresses_of_proc(text: str, address: str) -> None:
    assert decode_address(text) == address


def test_kernel_settings() -> None:
    seen = _collect(sysctls=["kernel.ostype", "no.such.setting"])["sysctls"]
    assert seen["kernel.ostype"] == "Linux"
    assert "FileNotFoundError" in seen["no.such.setting"]["error"]


def test_settings_of_interfaces() -> None:
    asked = ["net.ipv4.conf.*.send_redirects", "net.ipv4.no-such-folder.*.x"]
    seen = _collect(interfaces=asked)["interfaces"]
    there = {path.name for path in Path("/proc/sys/net/ipv4/conf").iterdir()}
    assert {"all", "default", "lo"} <= seen[asked[0]].keys() <= there
    assert set(seen[asked[0]].values()) <= {"0", "1"}
    assert seen[asked[1]] == {}


def test_an_interface_that_goes_while_it_is_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("eth0", "veth1"):
        (tmp_path / "net/ipv4/conf" / name).mkdir(parents=True)
    (tmp_path / "net/ipv4/conf/eth0/send_redirects").write_text("1\n")
    monkeypatch.setattr(kernel, "_ROOT", tmp_path)
    assert kernel.of_interfaces("net.ipv4.conf.*.send_redirects") == {"eth0": "1"}


@dataclass
class _Pages:
    """As an API server answers: two namespaces a page."""

    names: list[str]

    def get(self, path: str) -> dict[str, Any]:
        start = int(parse_qs(urlsplit(path).query).get("continue", ["0 /"])[0].removesuffix(" /"))
        more = {"continue": f"{start + 2} /"} if start + 2 < len(self.names) else {}
        items = [{"metadata": {"name": name}} for name in self.names[start : start + 2]]
        return {"metadata": more, "items": items}

    def tried(self, path: str, _: object) -> dict[str, Any]:
        return {"admitted": path.split("/")[4] == "fifth", "reason": "", "message": "", "object": {}}


def test_the_last_of_many_namespaces_is_tried_too() -> None:
    names = ["first", "second", "third", "fourth", "fifth"]
    tried = try_namespaces(_Pages(names), {})  # type: ignore[arg-type]  # all of it that is asked
    assert [name for name in names if tried[name]["admitted"]] == ["fifth"]


@pytest.fixture
def sshd_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of sshd's with one that it includes, and blocks for others in both."""
    key = tmp_path / "key"
    if not shutil.which("ssh-keygen") or not Path("/usr/sbin/sshd").exists():
        pytest.skip("needs OpenSSH: apt-get install openssh-server")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (tmp_path / "more.conf").write_text("PasswordAuthentication no\nmatch user eve\nPermitEmptyPasswords=yes\n")
    (tmp_path / "sshd_config").write_text(
        f"HostKey {key}\nInclude {tmp_path}/m*.conf\nKbdInteractiveAuthentication yes\n"
        'Match Address 192.0.2.7 LocalPort 2222\n  passwordauthentication "yes"\n'
        "Match LocalAddress 198.51.100.9\n  MaxAuthTries 3\n  GSSAPIAuthentication no\n"
    )
    monkeypatch.setattr(sshd, "_CONFIG", tmp_path / "sshd_config")
    return tmp_path


@pytest.mark.parametrize(
    ("came_from", "way", "found"),
    [
        ("192.0.2.7", ("198.51.100.1", 2222), ("yes", "6")),
        ("192.0.2.7", ("198.51.100.1", 22), ("no", "6")),
        ("192.0.2.8", ("198.51.100.9", 2222), ("no", "3")),
        ("", ("192.0.2.7", 2222), ("yes", "6")),
    ],
)
@pytest.mark.usefixtures("sshd_config")
def test_blocks_for_the_way_that_kharden_comes_count(
    monkeypatch: pytest.MonkeyPatch, came_from: str, way: tuple[str, int], found: tuple[str, str]
) -> None:
    monkeypatch.setattr(sshd, "came_from", lambda: came_from)
    settings = sshd.settings("root", *way)
    assert (settings["passwordauthentication"], settings["maxauthtries"]) == found


def test_blocks_that_let_others_in_without_a_key_are_told(sshd_config: Path) -> None:
    assert sshd.keyless() == [
        f"{sshd_config}/more.conf: PermitEmptyPasswords=yes",
        f'{sshd_config}/sshd_config: passwordauthentication "yes"',
    ]


@pytest.mark.parametrize(
    ("said", "found"), [("2001:db8::7 4711 2001:db8::1 22", "2001:db8::7"), ("a,user=b 1 2 3", ""), (None, "")]
)
def test_where_a_run_came_from_is_known_below_sudo(said: str | None, found: str) -> None:
    """sudo leaves none of it to what it starts, so a process above has it."""
    ask = "from kharden.observe.collector.sshd import came_from; print(came_from())"
    kept = {name: value for name, value in os.environ.items() if name != "SSH_CONNECTION"}
    above = kept | ({"SSH_CONNECTION": said} if said else {})
    command = ["sh", "-c", 'env -u SSH_CONNECTION "$@"; exit $?', "sh", sys.executable, "-c", ask]
    # In a namespace of its own, where nothing is above it but the first process, which is never asked.
    apart = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", '"$@"; exit $?', "sh"]
    if os.geteuid() != 0:
        pytest.skip("needs root")
    done = subprocess.run([*apart, *command], env=above, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found


def test_plain_port() -> None:
    with _serving() as port:
        assert _probe(port, over_tls=False) == {"outcome": "200", "message": ""}
        assert _probe(port, over_tls=False, path="/status") == {"outcome": "401", "message": "go away"}
        assert "SSLError" in _probe(port)["error"]
    assert _probe(port, over_tls=False) == {"outcome": "connection refused", "message": ""}


@pytest.mark.parametrize("latest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_credentials(latest: ssl.TLSVersion, ours: Pair, strangers: Pair) -> None:
    context = _tls(ours, clients=ours)
    context.maximum_version = latest
    with _serving(context) as port:
        # In TLS 1.2 OpenSSL's server, unlike Go's, gives another reason: then it is no answer that counts.
        assert _probe(port).get("outcome") == ("TLS refused" if latest == ssl.TLSVersion.TLSv1_3 else None)
        assert _probe(port, credential=[str(strangers.file)])["outcome"] == "TLS refused"
        assert _probe(port, credential=[str(ours.file)]) == {"outcome": "200", "message": ""}


def test_handshake_of_a_strict_port(ours: Pair) -> None:
    with _serving(_tls(ours)) as port:
        seen = _collect(handshakes={"asked": {"host": "127.0.0.1", "port": port}})["handshakes"]["asked"]
    assert (seen["version"], seen["certificate"].encode()) == ("TLSv1.3", ours.pem)
    assert seen["old_versions"] == "refused"


def test_handshake_finds_weak_suites(ours: Pair) -> None:
    lax, strict = _tls(ours), _tls(ours)
    lax.set_ciphers("ALL:@SECLEVEL=0")
    strict.set_ciphers("ECDHE+AESGCM")
    for context, answer in ((lax, "accepted"), (strict, "refused")):
        with _serving(context) as port:
            seen = _collect(handshakes={"asked": {"host": "127.0.0.1", "port": port}})["handshakes"]["asked"]
        assert seen["weak_suites"] == answer


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_handshake_finds_old_versions(ours: Pair) -> None:
    context = _tls(ours)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with _serving(context) as port:
        seen = _collect(handshakes={"asked": {"host": "127.0.0.1", "port": port}})["handshakes"]["asked"]
    assert seen["old_versions"] == "accepted"


def test_what_is_stored_is_told_by_its_prefix_alone() -> None:
    stored = [
        ("/registry/secrets/a/one", b"k8s:enc:secretbox:v1:key-1:\x00" + _CANARY.encode()),
        ("/registry/secrets/a/two", b"k8s:enc:secretbox:v1:key-1:" + _CANARY.encode()),
        ("/registry/secrets/a/three", b"k8s\x00\n" + _CANARY.encode()),
        ("/registry/secrets/a/four", b"x k8s:enc:secretbox:v1:key-1:"),
        ("/registry/secrets/a/five", b""),
    ]
    told = how_stored(stored)
    assert told == {
        "prefixes": {"k8s:enc:secretbox:v1:key-1:": 2},
        "plain": ["/registry/secrets/a/three", "/registry/secrets/a/four", "/registry/secrets/a/five"],
        "plain_count": 3,
    }
    assert _CANARY not in json.dumps(told)


FEATURES = """\
# TYPE kubernetes_feature_enabled gauge
kubernetes_feature_enabled{name="B",stage="ALPHA"} 1
kubernetes_feature_enabled{name="A",stage="ALPHA"} 1
kubernetes_feature_enabled{name="Off",stage="ALPHA"} 0
kubernetes_feature_enabled{name="Grown",stage="BETA"} 1
kubernetes_feature_enabled{name="Done",stage=""} 1
"""


def test_alpha_features_of_a_program() -> None:
    assert alpha(FEATURES) == ["A", "B"]
    assert alpha(FEATURES.replace(" 1", " 0")) == []


def test_metrics_without_features_are_no_proof() -> None:
    with pytest.raises(RuntimeError, match="nothing about kubernetes_feature_enabled"):
        alpha("# nothing of the kind\n")
    with _serving() as port:
        seen = _collect(features={"kube-proxy": f"http://127.0.0.1:{port}/metrics"})
    assert "nothing about kubernetes_feature_enabled" in seen["features"]["kube-proxy"]["error"]


def test_a_section_that_fails_leaves_the_others(tmp_path: Path) -> None:
    nowhere = {
        "api": {"host": "127.0.0.1", "port": 1, "kubeconfig": "/no/such"},
        "node": "cp1",
        "active": False,
        "kubelets": ["cp1"],
        "settings": [],
        "features": {},
        "pods": {},
        "specs": [],
        "trials": {},
        "objects": [],
        "audit_log": str(tmp_path / "none"),
    }
    seen = _collect(cluster=nowhere, folders=[str(tmp_path)])
    assert seen["folders"] == {str(tmp_path): []}
    assert "FileNotFoundError" in seen["cluster"]["accounts"]["error"]
    assert "no scratch secret was made" in seen["cluster"]["audit"]["error"]


def test_a_member_of_etcd_that_cannot_be_read_is_told_and_one_elsewhere_is_nothing() -> None:
    def asked(etcd: dict[str, Any] | None) -> Any:  # noqa: ANN401  # JSON
        text = program({"within_pods": {}, "etcd": etcd})
        done = subprocess.run([sys.executable, "-I", "-"], input=text, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["etcd"]

    failed = asked({"command": ["/no/such"], "stored": {"secrets": "/registry/secrets/"}})
    assert "FileNotFoundError" in failed["secrets"]["error"]
    assert asked(None) == {}
