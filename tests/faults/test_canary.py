"""The keys of the cluster are canaries: they are looked for everywhere, and found only where they belong."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kharden.apply.build import load as load_build
from kharden.apply.payload import payload
from kharden.lab.machine import find_machine
from kharden.lab.places import node_folder, state_folder
from kharden.pki.stores import read_store
from kharden.pki.written import load_data, load_leaves, load_roots
from kharden.seal import STORES, load_or_create_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.faults.conftest import Bootstrap, NewWatch, Node, Site

pytestmark = [pytest.mark.lab, pytest.mark.programs]

NODES = ("cp1", "w1")
# What is larger is a program or an image; a key makes a small file.
SIZE = "-16M"
# Where a control plane holds keys; a worker holds none of ours.
BELONGS = ("etc/kubernetes/", "etc/kharden/")
OFFLINE = ("roots/etcd-ca", "roots/front-proxy-ca", "roots/people-ca", "roots/super-admin")
CLUSTER = "faults"
AUDIT_LOG = "var/log/kubernetes/audit/audit.log"
KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"


@dataclass(frozen=True, slots=True)
class Canary:
    """A secret, by texts of one line that each give it away; only its name is ever shown."""

    name: str
    forms: frozenset[bytes]

    def __repr__(self) -> str:
        return self.name


def in_base64(secret: bytes) -> set[bytes]:
    """What of a secret is seen in base64 of any text that it stands in: it may begin at any of three places."""
    found = set()
    for before in range(3):
        text = base64.b64encode(bytes(before) + secret)
        found.add(text[(before * 8 + 5) // 6 : (before + len(secret)) * 8 // 6])
    return found


def of_bytes(name: str, secret: bytes) -> Canary:
    return Canary(name, frozenset({secret.hex().encode(), *in_base64(secret)}))


def of_key(name: str, pem: bytes) -> Canary:
    """A private key: its number, and the lines of its PEM, which is also in base64 in a kubeconfig."""
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    number = key.private_numbers().private_value
    forms = set(of_bytes(name, number.to_bytes((key.key_size + 7) // 8, "big")).forms)
    for line in pem.splitlines():
        if len(line) >= 32 and not line.startswith(b"-----"):
            forms |= {line, *in_base64(line)}
    return Canary(name, frozenset(forms))


def stored(site: Site) -> Iterator[Canary]:
    """Every secret of the three stores."""
    identities, _ = load_or_create_identity(site.environment)
    folder = site.root / "inventories" / CLUSTER / "secrets"
    plain = {store: read_store(folder, store, identities) for store in STORES}
    roots = load_roots(plain["roots"], CLUSTER, folder)
    for authority, pair in roots.authorities.items():
        yield of_key(f"roots/{authority}", pair.key)
    yield of_key("roots/super-admin", roots.super_admin.key)
    for index, key in enumerate(roots.service_account_keys):
        yield of_key(f"roots/service-account-{index}", key)
    for node, leaves in load_leaves(plain["leaves"], CLUSTER, folder).nodes.items():
        for name, pair in leaves.items():
            yield of_key(f"leaves/{node}/{name}", pair.key)
    for encryption in load_data(plain["data"], CLUSTER, folder).encryption_keys:
        yield of_bytes(f"data/{encryption.name}", encryption.secret)


def in_flight(site: Site) -> Iterator[Canary]:
    """What is made of them for a run: each node's payload, and the identities that open the stores."""
    identities, _ = load_or_create_identity(site.environment)
    folder = site.root / "build" / CLUSTER
    digest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["specDigest"]
    for node in NODES:
        text = payload(load_build(folder, digest), node, identities)
        pieces = (text[start : start + 60] for start in range(60, len(text) - 60, 1000))
        yield Canary(f"payload/{node}", frozenset(pieces))
    for path in (site.root / "identity").iterdir():
        lines = path.read_bytes().splitlines()
        yield Canary(f"identity/{path.stem}", frozenset(line for line in lines if line.startswith(b"AGE-SECRET-KEY-")))


@pytest.fixture(scope="module")
def canaries(site: Site, bootstrap: Bootstrap) -> tuple[Canary, ...]:
    assert bootstrap.output
    found = (*stored(site), *in_flight(site))
    assert all(canary.forms for canary in found)
    return found


@pytest.fixture(scope="module")
def tokens(bootstrap: Bootstrap) -> re.Pattern[bytes]:
    """The tokens with which nodes joined; the audit log tells their public halves."""
    assert bootstrap.output
    log = disks("cp1")[0] / AUDIT_LOG
    public = set(re.findall(rb"bootstrap-token-([a-z0-9]{6})", log.read_bytes()))
    assert public
    return re.compile(rb"(?:" + b"|".join(public) + rb")\.[a-z0-9]{16}")


def seen(canaries: Iterable[Canary], content: bytes) -> list[str]:
    """Names of the canaries that a content gives away."""
    return [canary.name for canary in canaries if any(form in content for form in canary.forms)]


def changed(folders: Iterable[Path], began: float) -> list[Path]:
    """Files below folders that were made or changed since then. What others make and remove meanwhile is no fault."""
    conditions = ["-xdev", "-type", "f", "-newermt", f"@{began:.0f}", "-size", SIZE, "-print0"]
    listed = subprocess.run(["find", *map(str, folders), *conditions], capture_output=True, check=False).stdout
    return [Path(os.fsdecode(name)) for name in listed.split(b"\0") if name]


def holding(canaries: Iterable[Canary], files: list[Path]) -> list[Path]:
    """The files that give a canary away; patterns go through standard input."""
    patterns = b"\n".join(form for canary in canaries for form in canary.forms)
    options = ["--no-messages", "--text", "--fixed-strings", "--files-with-matches", "--null", "--file=-", "--"]
    found: list[Path] = []
    for start in range(0, len(files), 500):
        command = ["grep", *options, *map(str, files[start : start + 500])]
        done = subprocess.run(command, input=patterns, capture_output=True, check=False)
        found += [Path(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name]
    return found


def with_tokens(tokens: re.Pattern[bytes], files: list[Path]) -> list[Path]:
    """Files that hold a whole join token: those with a public half and its dot, looked at more closely."""
    public = tokens.pattern.removeprefix(b"(?:").partition(b")")[0].split(b"|")
    halves = Canary("tokens", frozenset(half + b"." for half in public))
    return [path for path in holding([halves], files) if tokens.search(path.read_bytes())]


def places_of_controller(site: Site) -> list[Path]:
    """Where something could be left on this machine: all that its user can write to, but the identities."""
    own = [path for path in site.root.iterdir() if path.name != "identity"]
    lab = [path for path in state_folder(CLUSTER).iterdir() if path.name != "nodes"]
    home = [path for path in Path.home().iterdir() if path.name != ".local"]
    looked_at = {*site.root.parents, *Path.home().parents, Path.home()}  # more closely, where these lie in it
    shared = [path for path in Path("/tmp").iterdir() if path not in looked_at]
    return [*own, *lab, *home, *shared, Path("/var/tmp"), Path("/var/log")]


def disks(node: str) -> list[Path]:
    """What a node has written: the upper folder of its overlay, and what is mounted into it."""
    return [node_folder(CLUSTER, node) / name for name in ("upper", "etcd", "kubelet", "containerd")]


def memory(node: str) -> list[Path]:
    """A node's tmpfs."""
    machine = find_machine(CLUSTER, node)
    assert machine is not None
    return [Path(f"/proc/{machine.leader}/root/{name}") for name in ("run", "tmp", "dev/shm")]


def test_nothing_is_left_on_the_controller(
    site: Site, bootstrap: Bootstrap, canaries: tuple[Canary, ...], tokens: re.Pattern[bytes]
) -> None:
    files = changed(places_of_controller(site), bootstrap.began)
    assert site.root / "build" / CLUSTER / "manifest.json" in files
    assert holding(canaries, files) == []
    assert with_tokens(tokens, files) == []
    assert list(site.memory.iterdir()) == []


def test_commands_say_nothing(bootstrap: Bootstrap, canaries: tuple[Canary, ...], tokens: re.Pattern[bytes]) -> None:
    said = bootstrap.output.encode()
    assert seen(canaries, said) == []
    assert tokens.search(said) is None


def test_no_process_has_one_in_its_arguments_or_environment(
    bootstrap: Bootstrap, canaries: tuple[Canary, ...], tokens: re.Pattern[bytes]
) -> None:
    leaks = {
        what: names
        for text, what in bootstrap.watch.texts.items()
        if (names := seen(canaries, text) + ["join token"] * bool(tokens.search(text)))
    }
    assert leaks == {}
    # What runs on nodes for a moment was looked at too.
    assert any(b"kubeadm\0join\0" in text for text in bootstrap.watch.texts)
    assert any(b"kubeadm\0token\0create\0" in text for text in bootstrap.watch.texts)


def test_ansible_writes_none_down_not_even_in_memory(
    site: Site, bootstrap: Bootstrap, canaries: tuple[Canary, ...], tokens: re.Pattern[bytes]
) -> None:
    leaks: dict[str, set[str]] = {}
    for path, content in bootstrap.watch.files.items():
        names = {*seen(canaries, content), *(["join token"] if tokens.search(content) else [])}
        if names:  # kharden-XXXX/payloads/…, kharden-XXXX/runner/artifacts/…, kharden-XXXX/ansible/…
            leaks.setdefault(path.relative_to(site.memory).parts[1], set()).update(names)
    assert any("artifacts" in path.parts for path in bootstrap.watch.files)
    # What a run needs is there: that it was found shows that the rest was looked at.
    assert leaks.pop("payloads") == {f"payload/{node}" for node in NODES}
    # Ansible's copy makes a file of what it is given as content: the one with which a worker finds the cluster.
    assert leaks.pop("ansible", set()) <= {"join token"}
    assert leaks == {}


@pytest.mark.parametrize("name", NODES)
def test_a_node_has_keys_only_where_they_belong(
    bootstrap: Bootstrap, canaries: tuple[Canary, ...], tokens: re.Pattern[bytes], name: str
) -> None:
    files = changed([*disks(name), *memory(name)], bootstrap.began)
    upper = disks(name)[0]
    found = {str(path.relative_to(upper) if path.is_relative_to(upper) else path) for path in holding(canaries, files)}
    assert found == {path for path in found if name == "cp1" and path.startswith(BELONGS)}
    if name == "cp1":  # a key in PEM, one in a kubeconfig, one for what lies in etcd
        assert {"etc/kubernetes/pki/ca.key", "etc/kubernetes/admin.conf", "etc/kharden/api/encryption.yaml"} <= found
    offline = [canary for canary in canaries if canary.name in OFFLINE]
    assert len(offline) == len(OFFLINE)
    assert holding(offline, files) == []
    assert with_tokens(tokens, files) == []


@pytest.mark.parametrize("name", NODES)
def test_a_nodes_journal_has_none(
    node: Node, canaries: tuple[Canary, ...], tokens: re.Pattern[bytes], name: str
) -> None:
    journal = node(name, "journalctl --output=json --no-pager").encode()
    assert journal.count(b"\n") > 100
    assert seen(canaries, journal) == []
    assert tokens.search(journal) is None


def test_what_a_secret_holds_is_neither_logged_nor_stored_in_the_clear(node: Node) -> None:
    began = time.time()
    canary = of_bytes("secret object", secrets.token_bytes(32))
    value = min(canary.forms)
    forms = Canary(canary.name, canary.forms | in_base64(value))
    manifest = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "canary"}, "stringData": {"value": value.decode()}
    }  # fmt: skip
    text = json.dumps(manifest)
    node(
        "cp1",
        f"{KUBECTL} apply --filename=- <<'END'\n{text}\nEND\n{KUBECTL} get secret canary --output=yaml > /dev/null",
    )
    assert holding([forms], changed([*disks("cp1"), *memory("cp1")], began)) == []
    log = disks("cp1")[0] / AUDIT_LOG
    assert b'"name":"canary"' in log.read_bytes()
    node("cp1", f"{KUBECTL} delete secret canary")


class TestTheSearchItself:
    """Each way of looking finds what was planted for it; otherwise finding nothing would mean nothing."""

    @pytest.fixture
    def planted(self) -> Canary:
        return of_bytes("planted", secrets.token_bytes(32))

    def test_in_files(self, site: Site, bootstrap: Bootstrap, planted: Canary) -> None:
        path = site.root / "build" / "planted"
        for form in planted.forms:
            path.write_bytes(b"\0\xff" + form + b"\n")
            assert holding([planted], changed([site.root], bootstrap.began)) == [path]
        path.unlink()

    def test_on_a_nodes_disk_and_in_its_memory(self, node: Node, bootstrap: Bootstrap, planted: Canary) -> None:
        text = min(planted.forms).decode()
        node("w1", f"tee /var/lib/planted /run/planted <<< {text} > /dev/null")
        found = holding([planted], changed([*disks("w1"), *memory("w1")], bootstrap.began))
        assert [path.name for path in found] == ["planted", "planted"]
        node("w1", "rm /var/lib/planted /run/planted")

    def test_in_a_journal(self, node: Node, planted: Canary) -> None:
        text = min(planted.forms).decode()
        journal = node("w1", f"logger <<< {text}; journalctl --sync; journalctl --output=json --no-pager")
        assert seen([planted], journal.encode()) == ["planted"]

    def test_in_arguments_environments_and_memory(self, site: Site, new_watch: NewWatch, planted: Canary) -> None:
        text = min(planted.forms).decode()
        sleep = [sys.executable, "-c", "import time; time.sleep(0.3)"]
        with new_watch() as watch:
            subprocess.run([*sleep, text], check=True)
            subprocess.run(sleep, env={"PLANTED": text}, check=True)
            (site.memory / "planted").write_text(text)
            subprocess.run(sleep, check=True)
        (site.memory / "planted").unlink()
        where = {what.partition(" of ")[0] for content, what in watch.texts.items() if seen([planted], content)}
        assert where == {"arguments", "environment"}
        assert [path.name for path, content in watch.files.items() if seen([planted], content)] == ["planted"]

    def test_for_tokens(self, site: Site, bootstrap: Bootstrap, tokens: re.Pattern[bytes]) -> None:
        public = tokens.pattern.removeprefix(b"(?:")[:6]
        path = site.root / "build" / "planted"
        path.write_bytes(b"token: " + public + b".0123456789abcdef\n")
        assert with_tokens(tokens, changed([site.root], bootstrap.began)) == [path]
        path.unlink()
