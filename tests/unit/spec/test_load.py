from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import yaml

from kharden.errors import InputError
from kharden.spec import reader
from kharden.spec.load import MAX_BYTES, load
from kharden.spec.problems import SpecError

LAB = Path(__file__).parents[3] / "inventories" / "lab-small" / "cluster.yaml"

ALL_KEYS = """\
apiVersion: kharden.dev/v1
kind: Cluster
metadata: {name: real}
spec:
  preset: stig
  kubernetes: {version: 1.36.3}
  nodes:
    - name: cp1
      address: 192.0.2.11
      secondAddress: "2001:db8:1::11"
      role: control-plane
      ssh:
        user: admin
        port: 2222
        hostKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB]
  endpoint: {external: [api.example.org, "2001:db8::1"]}
  network:
    plugin: routed
    nodeCIDRs: [192.0.2.0/24, "2001:db8:1::/64"]
    podCIDRs: [10.200.0.0/16, "2001:db8:2::/56"]
    serviceCIDRs: [10.201.0.0/16, "2001:db8:3::/112"]
  pki: {algorithm: RSA-3072, lifetimes: {authorityDays: 397, leafDays: 397}}
  encryption: {provider: aescbc, resources: [secrets, widgets.example.com]}
  audit: {layers: [contents, reads], maxAgeDays: 90, maxBackups: 20, maxSizeMB: 200}
  admission:
    podSecurity: baseline
    podSecurityExemptions: {namespaces: [backup], usernames: ["system:serviceaccount:a:b"], runtimeClasses: [kata]}
    plugins: [NamespaceExists]
    eventRateLimits: [{type: User, qps: 10, burst: 20}]
  kubelet:
    podPidsLimit: 1024
    systemReserved: {cpu: 250m, memory: 512Mi, ephemeralStorage: 1Gi, pid: 1000}
    kubeReserved: {cpu: "1", memory: 300Mi}
    evictionHard: [{signal: memory.available, below: 200Mi}]
    evictionSoft: [{signal: memory.available, below: 10%, gracePeriod: 1m30s}]
    containerLogMaxSize: 20Mi
    containerLogMaxFiles: 3
    imagePullCredentialsVerificationPolicy: AlwaysVerify
  artifacts: {source: source}
  secrets:
    recipients:
      roots: [age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq]
  waivers:
    - {control: pod-security-enforced, owner: "team {{ x }}", reason: 'no: really', expires: 2027-01-31}
    - {control: pod-security-everywhere, owner: o, reason: r, expires: 2027-01-31}
"""


def spec(folder: Path, content: bytes | str, *, name: str = "real") -> Path:
    path = folder / name / "cluster.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(path)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def test_a_lab_of_ours_is_valid() -> None:
    loaded = load(LAB)
    assert loaded.path == LAB
    assert loaded.digest == hashlib.sha256(LAB.read_bytes()).hexdigest()
    assert [node.name for node in loaded.cluster.spec.nodes] == ["cp1", "w1"]


def test_every_key_is_read(tmp_path: Path) -> None:
    cluster = load(spec(tmp_path, ALL_KEYS)).cluster
    node = cluster.spec.nodes[0]
    assert (node.ssh.user, node.ssh.port) == ("admin", 2222)
    assert [str(one) for one in cluster.spec.endpoint.external] == ["api.example.org", "2001:db8::1"]
    assert [str(one) for one in cluster.spec.network.pod_cidrs] == ["10.200.0.0/16", "2001:db8:2::/56"]
    assert cluster.spec.waivers[0].expires.isoformat() == "2027-01-31"
    assert cluster.spec.waivers[0].owner == "team {{ x }}"
    assert cluster.spec.lab is None


def test_reading_in_python_gives_the_same_as_libyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = spec(tmp_path, ALL_KEYS)
    with_libyaml = load(path)
    monkeypatch.setattr(reader, "LOADER", yaml.SafeLoader)
    assert load(path) == with_libyaml


def test_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    assert load(spec(tmp_path, ALL_KEYS.replace("\n", "\r\n"))).cluster == load(spec(tmp_path, ALL_KEYS)).cluster


def test_the_message_counts_and_the_details_name_each(tmp_path: Path) -> None:
    path = spec(tmp_path, "kind: Cluster\n")
    with pytest.raises(SpecError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: 3 problems"
    assert caught.value.details[0].startswith(f"{path}:1:1: apiVersion: this key is missing: ")
    assert len(caught.value.details) == 3


def test_one_problem_is_not_several(tmp_path: Path) -> None:
    path = spec(tmp_path, "")
    with pytest.raises(SpecError, match=r"cluster\.yaml: 1 problem$"):
        load(path)


def test_a_terminal_is_not_flooded(tmp_path: Path) -> None:
    path = spec(tmp_path, "".join(f"key{i}: 1\n" for i in range(300)))
    with pytest.raises(SpecError) as caught:
        load(path)
    assert len(caught.value.problems) == 304
    assert len(caught.value.details) == 101
    assert caught.value.details[-1].endswith("and 204 more, once these are mended")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        load(tmp_path / "cluster.yaml")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this is not a file"):
        load(tmp_path)


def test_a_pipe_does_not_keep_us_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cluster.yaml")
    with pytest.raises(InputError, match="this is not a file"):
        load(tmp_path / "cluster.yaml")


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").symlink_to(LAB)
    with pytest.raises(InputError, match="symbolic links are not followed"):
        load(tmp_path / "cluster.yaml")


def test_what_the_system_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't read this file \(Not a directory\)"):
        load(spec(tmp_path, ALL_KEYS) / "cluster.yaml")


def test_a_path_that_is_none() -> None:
    with pytest.raises(InputError, match="NUL"):
        load(Path("inventories\0/cluster.yaml"))


def test_the_largest_file_and_one_byte_more(tmp_path: Path) -> None:
    largest = ALL_KEYS + "#" * (MAX_BYTES - len(ALL_KEYS))
    assert load(spec(tmp_path, largest)).cluster
    assert refused(spec(tmp_path, largest + "#")) == ["1:1: this file is larger than 1 MiB: describe fewer nodes in it"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    [problem] = refused(spec(tmp_path, ALL_KEYS.encode(encoding)))
    assert problem.startswith(("1:1: this file isn't UTF-8", "1:1: a NUL", "1:2: a NUL"))


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2066", "\x1b", "\x7f", "\ufeff", "\uffff"])
def test_characters_that_mislead_a_reader(tmp_path: Path, character: str) -> None:
    [problem] = refused(spec(tmp_path, f"a: 1\nb: é{character}\n"))
    assert problem.startswith(f"2:5: U+{ord(character):04X} is here")


def test_an_old_line_end(tmp_path: Path) -> None:
    assert refused(spec(tmp_path, "a: 1\rb: 2\n"))[0].startswith("1:5: U+000D is here")


@pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "[{", "{a: ", "- - ? "])
def test_deep_nesting_is_refused_at_once(tmp_path: Path, opening: str) -> None:
    [problem] = refused(spec(tmp_path, opening * (MAX_BYTES // len(opening))))
    assert (
        problem.split(": ")[1] in {"values are nested more than 20 deep", "a value is missing here"}
        or "quote" in problem
    )


def test_more_values_than_any_cluster_has(tmp_path: Path) -> None:
    [problem] = refused(spec(tmp_path, f"a: [{'b,' * 200_000}]\n"))
    assert problem.startswith("1:199999: ")
    assert "there are more than 100000 keys and values" in problem


def test_the_largest_cluster_fits(tmp_path: Path) -> None:
    nodes = "".join(
        f"    - {{name: n{i}, address: 10.77.{i // 250}.{i % 250 + 2}, role: {'worker' if i else 'control-plane'}}}\n"
        for i in range(5000)
    )
    text = LAB.read_text(encoding="utf-8").partition("  nodes:\n")[0] + "  nodes:\n" + nodes
    text += (
        "  network:\n    nodeCIDRs: [10.77.0.0/16]\n    podCIDRs: [10.128.0.0/11]\n    serviceCIDRs: [10.96.0.0/16]\n"
    )
    assert len(load(spec(tmp_path, text + "  lab: {}\n", name="lab-small")).cluster.spec.nodes) == 5000


def test_the_folder_counts_also_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(spec(tmp_path, ALL_KEYS).parent)
    assert load(Path("cluster.yaml")).cluster.metadata.name == "real"
