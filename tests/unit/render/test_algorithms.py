"""Keys of other algorithms than the default: the real programs come up with them, and speak TLS 1.2 as well as 1.3."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.unit.plan.planner import Planner
from tests.unit.ports import free_port

from .control_plane import ControlPlane, placed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .programs import Programs

pytestmark = pytest.mark.programs

_PKI = "/etc/kubernetes/pki"
_SIZES = {"RSA-3072": "RSA", "ECDSA-P384": "ECDSA"}


@pytest.fixture(params=_SIZES)
def algorithm(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def control_plane(algorithm: str, programs: Programs, tmp_path: Path) -> ControlPlane:
    (tmp_path / "inventories/test").mkdir(parents=True)
    plan = Planner(tmp_path / "inventories/test")(pki={"algorithm": algorithm, "extraSANs": ["k8s.example.org"]})
    return placed(plan, programs, tmp_path)


def _both_versions(port: int, kind: str, context: Callable[[], ssl.SSLContext], name: str) -> None:
    assert _suite(port, ssl.TLSVersion.TLSv1_2, context(), name).startswith(f"ECDHE-{kind}-")
    assert _suite(port, ssl.TLSVersion.TLSv1_3, context(), name).startswith("TLS_")


def _verified(control_plane: ControlPlane, authority: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=control_plane.path(f"{_PKI}/{authority}"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def _etcd_client(control_plane: ControlPlane) -> ssl.SSLContext:
    context = _verified(control_plane, "etcd/ca.crt")
    client = control_plane.path(f"{_PKI}/etcd/healthcheck-client.crt")
    context.load_cert_chain(client, client.with_suffix(".key"))
    return context


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _suite(port: int, version: ssl.TLSVersion, context: ssl.SSLContext, name: str) -> str:
    """The suite that a server agrees to in one version of TLS."""
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname=name) as spoken,
    ):
        cipher = spoken.cipher()
        assert cipher
        return cipher[0]


def test_the_whole_control_plane_speaks_with_them(algorithm: str, control_plane: ControlPlane) -> None:
    kind = _SIZES[algorithm]
    manager, scheduler = free_port(), free_port()
    with (
        control_plane.run(control_plane.etcd(), "etcd") as etcd,
        control_plane.run(control_plane.api_server(), "kube-apiserver") as api_server,
    ):
        etcd.wait_for_words("ready to serve client requests")
        api_server.wait_for(lambda: control_plane.get("/readyz")[0] == 200)
        _both_versions(control_plane.api_port, kind, lambda: _verified(control_plane, "ca.crt"), "k8s.example.org")
        _both_versions(control_plane.etcd_port, kind, lambda: _etcd_client(control_plane), "localhost")
        for name, port in (("kube-controller-manager", manager), ("kube-scheduler", scheduler)):
            with control_plane.run(control_plane.component(name, port), name) as process:
                process.wait_for_words("Successfully acquired lease")
                # These make an RSA key for themselves, whatever the cluster's keys are.
                _both_versions(port, "RSA", _unverified, "localhost")
