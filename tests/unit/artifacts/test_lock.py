from __future__ import annotations

import copy
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from kharden.artifacts import lock, pin
from kharden.errors import InputError, IntegrityError

LOCK = lock.load()
CONTENT: dict[str, Any] = json.loads(lock.PATH.read_bytes())
TABLES = ("modules", "signers", "programs", "images", "releases")
# Of a published file alone: a source-only program has none of them.
OPTIONAL = {"signer"}


def place(content: dict[str, Any], path: tuple[str | int, ...]) -> Any:  # noqa: ANN401 - any part of a JSON value
    found: Any = content
    for key in path:
        found = found[key]
    return found


def modules() -> list[Any]:
    return [pytest.param(module, id=module.name) for module in LOCK.modules]


def programs() -> list[Any]:
    return [pytest.param(program, id=str(program)) for program in LOCK.programs]


@pytest.mark.parametrize("module", modules())
def test_each_module_requires_what_the_lock_says_and_compiles_with_its_toolchain(module: lock.Module) -> None:
    go_mod = (module.folder / "go.mod").read_text()
    assert f"\ntoolchain {LOCK.toolchain.version}\n" in go_mod
    for path, version in module.requires.items():
        assert re.search(
            rf"^\s*(require )?{re.escape(path)} {re.escape(version)}( // indirect)?$", go_mod, re.MULTILINE
        )
    if module.requires:
        assert (module.folder / "go.sum").stat().st_size > 0
        assert not re.search(r"=> \.", go_mod), "a replacement by a folder is pinned by nothing"


@pytest.mark.parametrize("program", programs())
def test_each_program_is_a_tool_of_its_module_and_pinned(program: lock.Program) -> None:
    module = LOCK.module(program)
    go_mod = (module.folder / "go.mod").read_text()
    if module.requires:
        assert re.search(rf"^(\t|tool ){re.escape(program.package)}$", go_mod, re.MULTILINE)
        assert {f"v{program.version}"} == {v for path, v in module.requires.items() if program.package.startswith(path)}
    else:
        assert go_mod.startswith(f"module {program.package}\n")
    assert "amd64" in program.built


def test_what_programs_say_of_their_version_is_their_version() -> None:
    said = {
        (program.name, text)
        for program in LOCK.programs
        for symbol, text in LOCK.module(program).variables.items()
        if symbol.lower().endswith("version") and text != f"v{program.version}"
    }
    assert said == set()


def test_release_digests_are_the_published_ones() -> None:
    """Of the lock's versions that had been published when it was made: name, version, architecture, and the digest."""
    source = Path(__file__).parent / "published.json"
    published: dict[str, dict[str, dict[str, str]]] = json.loads(source.read_text())
    names = {"archive": "cni-plugins"}
    for program in LOCK.programs:
        versions = published.get(names.get(program.release_form, program.name), {})
        expected = {arch: digest.removeprefix("sha256:") for arch, digest in versions.get(program.version, {}).items()}
        assert program.release == expected, program


def test_one_kubernetes_version_brings_what_belongs_to_it() -> None:
    release = LOCK.kubernetes("1.36.3")
    assert {each.name for each in release.programs if each.version == "1.36.3"} == {
        *("kubeadm", "kubelet", "kubectl", "kube-proxy"),
        *("kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    }
    assert release.program("etcd").version == "3.6.16"
    assert len(release.images) == 7
    for image in release.images:
        assert image.version in image.reference.rpartition(":")[2]
        assert image.entrypoint[0] in image.programs


def test_an_unknown_version_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"^Kubernetes 1\.2\.3 is not in the lock: use one of .*1\.36\.3"):
        LOCK.kubernetes("1.2.3")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("schema",), 1, "schema"),
        (("serial",), 0, "serial"),
        (("signers", 0, "signature"), "/../x", "signature"),
        (("programs", 0, "address"), "http://dl.k8s.io/kubeadm", "address"),
        (("programs", 0, "address"), "https://dl.k8s.io/../kubeadm", "address"),
        (("programs", 0, "address"), "", "contradict"),
        (("programs", 0, "member"), "kubeadm", "contradict"),
        (("programs", 0, "signer"), "nobody", "no signer nobody"),
        (("programs", 0, "built", "amd64"), "00", "built.amd64"),
        (("programs", 0, "built", "riscv64"), "0" * 64, "riscv64"),
        (("programs", 0, "package"), "-toolexec=x", "package"),
        (("programs", 0, "module"), "../elsewhere", "module"),
        (("programs", 0, "module"), "nothing", "no module nothing"),
        (("programs", 0, "release_form"), "none", "contradict"),
        (("programs", 1, "name"), "kubeadm", "twice"),
        (("modules", 0, "variables", "k8s.io/x"), "a -X b=c", "variables"),
        (("modules", 0, "unheard"), 1, "unheard"),
        (("images", 0, "programs"), {"/a/../b": "kube-apiserver"}, "programs"),
        (("images", 0, "programs"), {"/a": "etcd"}, "holds etcd"),
        (("images", 0, "user"), "root", "user"),
        (("releases", 0, "images"), ["example.test/a:b"], "no example.test/a:b"),
        (("toolchain", "version"), "go1.26", "toolchain.version"),
        (("debian", "taken"), "yesterday", "taken"),
        (("debian", "packages", "amd64", 0, "path"), "pool/../x.deb", "path"),
        (("debian", "packages", "amd64", 0, "path"), "pool/main/x.deb'; touch x; '.deb", "path"),
        (("debian", "packages", "amd64", 0, "version"), "-o Dir=/", "version"),
        (("debian", "packages", "amd64", 0, "size"), 0, "size"),
        (("debian", "packages", "amd64", 0, "name"), "nftables", "twice"),
        (("debian", "packages", "amd64"), [], "no conntrack"),
    ],
)
def test_a_lock_that_contradicts_itself_is_refused(path: tuple[str | int, ...], value: object, said: str) -> None:
    content = copy.deepcopy(CONTENT)
    place(content, path[:-1])[path[-1]] = value
    with pytest.raises(IntegrityError) as raised:
        lock.parse(json.dumps(content).encode(), "lock.json")
    assert said in " ".join((str(raised.value), *raised.value.details))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"schema": 1, "schema": 1}', b"[" * 100_000])
def test_what_is_no_lock_is_refused(content: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"^lock\.json: .*install kharden again"):
        lock.parse(content, "lock.json")


@pytest.mark.parametrize("path", [(), ("toolchain",), *((table, 0) for table in TABLES)], ids=str)
def test_no_key_may_be_missing(path: tuple[str | int, ...]) -> None:
    for key in place(CONTENT, path).keys() - OPTIONAL:
        content = copy.deepcopy(CONTENT)
        del place(content, path)[key]
        with pytest.raises(IntegrityError, match=key):
            lock.parse(json.dumps(content).encode(), "lock.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"serial": LOCK.serial - 1}, f"an older lock ({LOCK.serial - 1}) than this kharden's ({LOCK.serial})"),
        ({"serial": LOCK.serial + 1}, "not the lock that this kharden was made with"),
        ({"releases": []}, "not the lock that this kharden was made with"),
    ],
    ids=["as it is", "older", "newer", "changed"],
)
def test_only_the_lock_that_this_kharden_was_made_with_is_taken(
    change: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock.json"
    path.write_text(json.dumps(CONTENT | change, indent=2) + "\n")
    monkeypatch.setattr(lock, "PATH", path)
    lock.load.cache_clear()
    try:
        if not said:
            assert lock.load() == LOCK
            return
        with pytest.raises(IntegrityError) as raised:
            lock.load()
        assert str(raised.value) == f"{path}: {said}: install kharden again"
    finally:
        lock.load.cache_clear()


def test_sealing_takes_what_was_reviewed_and_raises_the_serial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in (("PATH", lock), ("SEAL", pin)):
        copied = tmp_path / getattr(module, name).name
        copied.write_bytes(getattr(module, name).read_bytes())
        monkeypatch.setattr(module, name, copied)
    before = pin.SEAL.read_text()
    assert pin.seal() == LOCK.serial
    assert pin.SEAL.read_text() == before
    lock.PATH.write_text(json.dumps(CONTENT | {"releases": []}))
    assert pin.seal() == LOCK.serial + 1
    said: dict[str, Any] = {}
    exec(pin.SEAL.read_text(), said)  # noqa: S102  # our own file, as Python will read it
    content = lock.PATH.read_bytes()
    assert said["SERIAL"] == json.loads(content)["serial"] == LOCK.serial + 1
    assert said["SHA256"] == hashlib.sha256(content).hexdigest()


def test_addresses_name_the_version_and_the_architecture() -> None:
    kubelet, bridge = (LOCK.kubernetes("1.36.3").program(name) for name in ("kubelet", "bridge"))
    assert kubelet.published_at("arm64") == "https://dl.k8s.io/release/v1.36.3/bin/linux/arm64/kubelet"
    assert bridge.published_at("amd64") == (
        "https://github.com/containernetworking/plugins/releases/download/v1.9.1/cni-plugins-linux-amd64-v1.9.1.tgz"
    )
    for program in LOCK.programs:
        if program.address:
            assert program.published_at("amd64") != program.published_at("arm64")
            assert program.version in program.published_at("amd64")
