from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Protocol

import pytest

from kharden.plan.model import (
    AccessPlan,
    ArtifactsPlan,
    AuthorityPlan,
    ClusterPlan,
    NetworkPlan,
    NodePlan,
    PkiPlan,
    RecipientsPlan,
    Role,
    RuntimePlan,
    SshPlan,
)
from kharden.plan.policy import AdmissionPlan, AuditPlan, EncryptionPlan, KubeletPlan
from kharden.seal import STORES, Identities, load_or_create_identity

if TYPE_CHECKING:
    from pathlib import Path


class MakePlan(Protocol):
    def __call__(
        self,
        *,
        control_planes: int = ...,
        workers: int = ...,
        algorithm: str = ...,
        addresses: str = ...,
        services: tuple[str, ...] = ...,
        external: tuple[str, ...] = ...,
        authority_days: int = ...,
        leaf_days: int = ...,
        recipients: RecipientsPlan = ...,
        name: str = ...,
        extra_sans: tuple[str, ...] = ...,
        authority: AuthorityPlan | None = ...,
    ) -> ClusterPlan: ...


def _node(name: str, address: str, role: Role, *, first: bool) -> NodePlan:
    ssh = SshPlan("root", 22, (), None)
    runtime = RuntimePlan(2, "systemd", restrict_oom_score=False, file_limit=1024, kernel_settings=True)
    return NodePlan(name, (ip_address(address),), role, "amd64", first, ssh, (), (), runtime, role == "control-plane")


def _make_plan(
    *,
    control_planes: int = 1,
    workers: int = 1,
    algorithm: str = "ECDSA-P256",
    addresses: str = "192.0.2.{}",
    services: tuple[str, ...] = ("10.96.0.0/16",),
    external: tuple[str, ...] = (),
    authority_days: int = 3650,
    leaf_days: int = 365,
    recipients: RecipientsPlan | None = None,
    name: str = "test",
    extra_sans: tuple[str, ...] = (),
    authority: AuthorityPlan | None = None,
) -> ClusterPlan:
    nodes = [
        _node(f"cp{i}", addresses.format(10 + i), "control-plane", first=i == 1) for i in range(1, control_planes + 1)
    ]
    nodes += [_node(f"w{i}", addresses.format(100 + i), "worker", first=False) for i in range(1, workers + 1)]
    service_cidrs = tuple(map(ip_network, services))
    return ClusterPlan(
        name=name,
        spec_digest="",
        preset="cis",
        kubernetes="1.36.3",
        nodes=tuple(nodes),
        endpoint_host="127.0.0.1",
        endpoint_port=7443,
        external=external,
        access=AccessPlan((), (), ()),
        network=NetworkPlan("routed", None, ()),
        node_cidrs=(),
        pod_cidrs=(),
        service_cidrs=service_cidrs,
        dns_address=service_cidrs[0][10],
        pki=PkiPlan(algorithm, authority_days, leaf_days, extra_sans, authority),
        encryption=EncryptionPlan("secretbox", ("secrets",)),
        audit=AuditPlan(reads=True, contents=False, max_age_days=30, max_backups=10, max_size_mb=100),
        admission=AdmissionPlan((), "restricted", (), (), (), ()),
        kubelet=KubeletPlan(4096, (), (), (), (), (), "10Mi", 5, "NeverVerifyAllowlistedImages"),
        tls_suites=(),
        kubelet_tls_suites=(),
        self_signed_tls_suites=(),
        key_exchanges=(),
        recipients=recipients or RecipientsPlan((), (), ()),
        artifacts=ArtifactsPlan(official=False, mirror=""),
        lab=False,
    )


@pytest.fixture(scope="session")
def make_plan() -> MakePlan:
    return _make_plan


@pytest.fixture
def plan() -> ClusterPlan:
    return _make_plan()


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    return load_or_create_identity({"HOME": str(tmp_path / "home")}, create=STORES)[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "inventories/test/secrets"
