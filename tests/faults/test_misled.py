"""A cluster that is told something that can't work. It waits for minutes: `invoke test --all`."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.faults.waiting import wait_for

if TYPE_CHECKING:
    from tests.faults.conftest import Node, Run, Site

pytestmark = [pytest.mark.lab, pytest.mark.programs]

# The program, with a plan that has a flag which no API server knows.
MISLED = """
import sys
from kharden.cli import main
from kharden.plan import arguments
api_server = arguments.api_server
arguments.api_server = lambda plan: (*api_server(plan), arguments.Argument("no-such-flag", "true", ()))
sys.argv[0] = "kharden"
main()
"""
MANIFESTS = "sha256sum /etc/kubernetes/manifests/*"


def test_a_flag_that_stops_the_api_server_is_taken_back(site: Site, kharden: Run, node: Node) -> None:
    before, store = node("cp1", MANIFESTS), node("cp1", "pgrep --exact etcd")
    argv = [sys.executable, "-c", MISLED, "render"]
    subprocess.run(argv, cwd=site.root, env=site.environment, check=True, capture_output=True, timeout=300)
    try:
        refused = kharden("apply", "--yes", status=1).stderr
    finally:
        kharden("render")
    assert "static pod kube-apiserver: " in refused
    assert "the old /etc/kubernetes/manifests/kube-apiserver.yaml is back and kube-apiserver answers" in refused
    assert node("cp1", MANIFESTS) == before
    assert node("cp1", "pgrep --exact etcd") == store  # the scheduler ends by itself when it loses its lease
    kharden("apply", "--yes")
    wait_for(lambda: "nothing to change" in kharden("apply", "--yes").stdout, "all is as it was", 120)
    kharden("verify")
