"""The firewall: the rules in force, and who gets through."""

from __future__ import annotations

from kharden.controls.checks import FirewallRules, MetadataUnreached, Reach, ServiceTables, UnitState
from kharden.controls.model import CONTROL_PLANE, ETCD, EVERYWHERE, NODES, WORKER, Control, FromPlan

_REMEDY = "see who changed the rules, then put them back with `kharden apply`"
_WAY = "look at the node's own rules (`nft list ruleset`), then at what lies between the machines"
# The kubelet's port without authentication, which no version has open any more.
_READ_ONLY = 10255
_FIRST_NODE_PORT = 30000
_NODE = (Reach(FromPlan.SSH_PORT), Reach(10250), Reach(_READ_ONLY), Reach(_FIRST_NODE_PORT, published=True))
_MEMBER = tuple(Reach(port, first_address_only=True) for port in (2379, 2380))

CONTROLS = (
    Control(
        "firewall-in-force",
        "The firewall is loaded now and before the network is up after a boot",
        "critical",
        EVERYWHERE,
        (UnitState("kharden-firewall.service"),),
        _REMEDY,
    ),
    Control(
        "firewall-rules",
        "The firewall drops all but what the plan's table of ports names",
        "critical",
        EVERYWHERE,
        (FirewallRules(),),
        _REMEDY,
    ),
    Control(
        "service-tables",
        "The service proxy's own rules are there beside the firewall",
        "medium",
        NODES,
        (ServiceTables(),),
        "look at the log of the node's kube-proxy",
    ),
    Control(
        "firewall-reach-control-plane",
        "A control plane's ports are reached from where the plan lets them be, and from nowhere else",
        "critical",
        CONTROL_PLANE,
        (
            *_NODE,
            *(Reach(port) for port in (6443, 10257, 10259)),
        ),
        _WAY,
        with_member=_MEMBER,
    ),
    Control(
        "firewall-reach-etcd",
        "The ports of a machine of etcd's own are reached from where the plan lets them be, and from nowhere else",
        "critical",
        ETCD,
        (*_NODE, *_MEMBER),
        _WAY,
    ),
    Control(
        "firewall-reach-worker",
        "A worker's ports are reached from where the plan lets them be, and from nowhere else",
        "critical",
        WORKER,
        _NODE,
        _WAY,
    ),
    Control(
        "metadata-unreached",
        "Pods don't reach what a cloud tells its machines about themselves",
        "high",
        NODES,
        (MetadataUnreached(),),
        _WAY,
    ),
)
