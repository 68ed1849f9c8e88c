"""etcd on three machines of its own: `invoke test --all`. It begins, stays, loses a member, and is never moved."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING

import pytest
import yaml

from kharden.controls import CONTROLS

from .sites import Program, described, program
from .states import differences, state, steady_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.lab, pytest.mark.programs]

CLUSTER = "e2e-etcd"
MEMBERS = ("etcd1", "etcd2", "etcd3")
KUBECTL = "KUBECONFIG=/etc/kubernetes/admin.conf kubectl"
PKI = "/etc/kubernetes/pki/etcd"
ETCDCTL = (
    f"etcdctl --endpoints=https://127.0.0.1:2379 --cacert={PKI}/ca.crt --cert={PKI}/healthcheck-client.crt "
    f"--key={PKI}/healthcheck-client.key"
)
STARTED = "systemctl show etcd.service --property=ActiveEnterTimestampMonotonic --value"


def cluster_yaml() -> str:
    """One control plane, one worker, three machines of etcd in three zones."""
    document = yaml.safe_load(described(CLUSTER, "10.94.0"))
    document["spec"]["nodes"] += [
        {"name": name, "address": f"10.94.0.3{number}", "zone": f"zone{number}", "role": "etcd"}
        for number, name in enumerate(MEMBERS, 1)
    ]
    return yaml.safe_dump(document, sort_keys=False)


@pytest.fixture(scope="module")
def kharden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program(tmp_path_factory.mktemp("site"), CLUSTER, cluster=cluster_yaml()) as made:
        made("render", "apply", "--yes")
        yield made


def members(kharden: Program, through: str) -> dict[str, bool]:
    """The members of etcd and whether each votes."""
    listed = json.loads(kharden.node(through, f"{ETCDCTL} member list --write-out=json"))["members"]
    return {one.get("name", ""): not one.get("isLearner", False) for one in listed}


def healthy(kharden: Program, through: str) -> int:
    return int(kharden.node(through, f"{ETCDCTL} endpoint health --cluster 2>&1 | grep -c 'is healthy' || true"))


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"{what}: not within {seconds} s"
        time.sleep(0.5)  # the pace of looking; the condition ends the wait


def written_and_read(kharden: Program, word: str) -> bool:
    """Whether the API takes a write and gives it back."""
    kharden.node("cp1", f"{KUBECTL} annotate --overwrite namespace default example.com/word={word}")
    asked = f"{KUBECTL} get namespace default --output=jsonpath='{{.metadata.annotations.example\\.com/word}}'"
    return kharden.node("cp1", asked) == word


def test_each_machine_runs_what_its_role_says(kharden: Program) -> None:
    assert members(kharden, "etcd2") == dict.fromkeys(MEMBERS, True)
    assert healthy(kharden, "etcd1") == len(MEMBERS)
    nodes = f"{KUBECTL} get nodes --output=jsonpath='{{.items[*].metadata.name}}'"
    assert kharden.node("cp1", nodes) == "cp1 w1"
    assert "etcd.yaml" not in kharden.node("cp1", "ls /etc/kubernetes/manifests")
    assert kharden.node("cp1", "pgrep -x etcd || true") == ""
    for name in MEMBERS:
        assert (
            kharden.node(name, "pgrep -x 'kubelet|containerd|haproxy' || true; ls /run/kharden/etcd.env || true") == ""
        )
        assert "User=etcd" in kharden.node(name, "systemctl show etcd.service --property=User")


def test_a_second_apply_changes_nothing_and_verify_passes(kharden: Program) -> None:
    before = steady_state(kharden.node, ("cp1", "w1", *MEMBERS))
    assert all(before[name]["starts"] for name in MEMBERS)
    assert "nothing to change" in kharden("apply", "--yes")
    assert "nothing to change" in kharden("plan")
    assert differences(before, state(kharden.node, ("cp1", "w1", *MEMBERS))) == []
    kharden("verify")


@pytest.mark.parametrize("name", MEMBERS)
def test_the_api_goes_on_without_one_member_and_apply_starts_it_again(kharden: Program, name: str) -> None:
    kharden.node(name, "systemctl stop etcd.service")
    assert written_and_read(kharden, f"without-{name}")
    assert f"{name}: " in kharden("plan", status=2)
    kharden("apply", "--yes")
    assert healthy(kharden, name) == len(MEMBERS)


def test_members_that_changed_restart_one_after_the_other_and_only_while_the_others_are_well(kharden: Program) -> None:
    for name in MEMBERS:
        kharden.node(name, "echo '# by hand' >> /etc/systemd/system/etcd.service")
    before = {name: int(kharden.node(name, STARTED)) for name in MEMBERS}
    kharden("apply", "--yes")
    after = [int(kharden.node(name, STARTED)) for name in MEMBERS]
    # Nodes of the lab share a clock. Each was ready before the next one was asked to go.
    assert after == sorted(after)
    assert all(time > before[name] for name, time in zip(MEMBERS, after, strict=True))
    assert healthy(kharden, "etcd1") == len(MEMBERS)
    assert "nothing to change" in kharden("apply", "--yes")


def test_a_member_that_was_lost_joins_again(kharden: Program) -> None:
    # Another disk in its place: what is left is only what apply brings again.
    kharden.node("etcd3", "systemctl stop etcd.service; rm -rf /var/lib/etcd/member /var/lib/kharden/joined")
    assert written_and_read(kharden, "without-a-machine")
    told = kharden("apply", "--yes")
    assert "etcd3: Become a member: changed" in told
    assert members(kharden, "etcd1") == dict.fromkeys(MEMBERS, True)
    assert healthy(kharden, "etcd3") == len(MEMBERS)
    assert "nothing to change" in kharden("apply", "--yes")
    kharden("verify")


BREAK = f"""
install --mode=0600 /dev/null /etc/kubernetes/pki/ca.key
cp -a {PKI}/ca.crt /root
cat {PKI}/server.crt >> {PKI}/ca.crt
systemd-run --quiet --unit=fault-node python3 -m http.server 9999
systemd-run --quiet --unit=fault-loopback python3 -m http.server --bind 127.0.0.1 9998
for chain in before-translation input; do nft insert rule inet kharden $chain tcp dport 10250 accept; done
echo >> /usr/sbin/nft
sysctl --quiet --write net.ipv4.ip_forward=1
systemctl --quiet disable etcd.service
"""
# Another CA is for a person: preflight takes the machine for another cluster's.
UNDO = f"""
rm /etc/kubernetes/pki/ca.key
mv /root/ca.crt {PKI}/ca.crt
systemctl stop fault-node fault-loopback
truncate --size=-1 /usr/sbin/nft
"""


def test_what_is_broken_on_a_machine_of_etcd_is_found_there_and_repaired(kharden: Program) -> None:
    kharden.node("etcd2", BREAK)
    report = json.loads(kharden("verify", "--json", status=2))
    failed = {control["id"] for control in report["controls"] if control["verdict"] == "fail"}
    alone = {entry.id for entry in CONTROLS if entry.duties == ("etcd",)}
    assert alone <= failed
    # The rules are everybody's control, and etcd's certificates are held against its file of CAs.
    assert failed <= alone | {"firewall-rules", "etcd-certificates", "tls-spoken-etcd"}
    with pytest.raises(AssertionError, match="this node belongs to another cluster"):
        kharden("apply", "--yes")
    kharden.node("etcd2", UNDO)
    kharden("apply", "--yes")
    kharden("verify")


def test_etcd_is_never_moved(kharden: Program, tmp_path: Path) -> None:
    """The machines stay, as those of a lab do until it is taken down, and the control plane would run etcd."""
    folder = kharden.site / "inventories" / CLUSTER
    shutil.copytree(folder, tmp_path / "kept")  # render drops the keys of who is no member any more
    try:
        document = yaml.safe_load((folder / "cluster.yaml").read_text(encoding="utf-8"))
        for node in document["spec"]["nodes"]:
            node["role"] = node["role"].replace("etcd", "worker")
        (folder / "cluster.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        kharden("render")
        with pytest.raises(AssertionError, match="etcd is never moved"):
            kharden("apply", "--yes")
    finally:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "kept", folder)
        kharden("render")
    assert "nothing to change" in kharden("apply", "--yes")
