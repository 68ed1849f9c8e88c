from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kharden.controls import CONTROLS
from kharden.plan import arguments

if TYPE_CHECKING:
    from kharden.plan.model import Argument, ClusterPlan

    from .planner import Planner

ALGORITHMS = ("ECDSA-P256", "ECDSA-P384", "RSA-2048", "RSA-3072", "RSA-4096")


def of_all(plan: ClusterPlan) -> dict[str, tuple[Argument, ...]]:
    return {
        "kube-apiserver": arguments.api_server(plan),
        "kube-controller-manager": arguments.controller_manager(plan),
        "kube-scheduler": arguments.scheduler(plan),
        "etcd": arguments.etcd(plan),
    }


def value(flags: tuple[Argument, ...], name: str) -> str:
    return next(flag.value for flag in flags if flag.name == name)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_suites_fit_the_keys_and_are_forward_secret_and_authenticated(planned: Planner, algorithm: str) -> None:
    plan = planned(pki={"algorithm": algorithm})
    own = algorithm.partition("-")[0]
    for component, flags in of_all(plan).items():
        # These two have no certificate of ours: they make one with an RSA key at each start.
        kind = "RSA" if component in {"kube-controller-manager", "kube-scheduler"} else own
        suites = value(flags, "cipher-suites" if component == "etcd" else "tls-cipher-suites").split(",")
        assert len(suites) == len(set(suites)) >= 2
        for suite in suites:
            assert suite.startswith(f"TLS_ECDHE_{kind}_WITH_")
            assert "_GCM_" in suite or "CHACHA20_POLY1305" in suite


def test_no_component_speaks_less_than_tls_1_2(planned: Planner) -> None:
    for component, flags in of_all(planned()).items():
        assert value(flags, "tls-min-version") == ("TLS1.2" if component == "etcd" else "VersionTLS12")


def test_no_flag_stands_twice(planned: Planner) -> None:
    # v1beta4 hands every item of extraArgs on, and of two equal flags the last one wins.
    for flags in of_all(planned()).values():
        names = [flag.name for flag in flags]
        assert len(names) == len(set(names))


def test_every_control_that_a_flag_names_is_in_the_catalogue(planned: Planner) -> None:
    named = {control for flags in of_all(planned()).values() for flag in flags for control in flag.controls}
    assert named
    assert named <= {control.id for control in CONTROLS}


def test_the_audit_log_is_kept_as_cluster_yaml_says(planned: Planner) -> None:
    flags = arguments.api_server(planned(audit={"maxAgeDays": 90, "maxBackups": 20, "maxSizeMB": 200}))
    found = [value(flags, f"audit-log-max{name}") for name in ("age", "backup", "size")]
    assert found == ["90", "20", "200"]


def test_node_restriction_stays_where_its_flag_is_replaced(planned: Planner) -> None:
    # kubeadm's own value of this flag is NodeRestriction alone; ours takes its place.
    assert "NodeRestriction" in value(arguments.api_server(planned()), "enable-admission-plugins").split(",")


def test_anonymous_requests_are_ruled_by_the_configuration_alone(planned: Planner) -> None:
    # The API server refuses to start with both.
    names = {flag.name for flag in arguments.api_server(planned())}
    assert "authentication-config" in names
    assert "anonymous-auth" not in names
    assert {"authorization-mode", "authorization-config"} & names == {"authorization-mode"}
