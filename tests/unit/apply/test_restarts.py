"""What restarts, in which order, and what is said of it."""

from __future__ import annotations

from kharden.apply.restarts import Restart, Restarts, lines
from kharden.apply.runner import ApplyResult


def told(name: str, *, turn: int = 0, away: float | None = None) -> dict[str, object]:
    return {"name": name, "turn": turn, "away": away}


API, ETCD = "static-pod/kube-apiserver", "static-pod/etcd"


def test_nodes_go_side_by_side_through_a_task_and_one_after_the_other_through_batches() -> None:
    restarts = Restarts(check=True)
    # All nodes: w1 changes who gets in, so the rest of it comes after a new login and after what others do first.
    restarts.note((1, "run"), "w1", [told("firewall"), told("containerd", turn=1), told("haproxy", turn=1)])
    restarts.note((1, "run"), "cp1", [told("containerd"), told("haproxy")])
    restarts.note((2, "pods"), "cp1", [told(ETCD), told(API)])
    restarts.note((2, "kubelet"), "cp1", [told("kubelet")])
    restarts.note((3, "pods"), "cp2", [told(API)])
    restarts.note((3, "kubelet"), "cp2", [])
    assert [(one.order, one.node, one.what) for one in restarts.ordered()] == [
        *((1, "cp1", "containerd"), (1, "w1", "firewall"), (2, "cp1", "haproxy")),
        *((3, "w1", "containerd"), (4, "w1", "haproxy")),
        *((5, "cp1", ETCD), (6, "cp1", API), (7, "cp1", "kubelet"), (8, "cp2", API)),
    ]


def test_a_figure_says_where_it_comes_from() -> None:
    plan, run = Restarts(check=True), Restarts()
    for one in (plan, run):
        one.note((1, "pods"), "cp1", [told(ETCD), told(API, away=6.4), told("static-pod/kube-scheduler", away=3.0)])
    assumed, seen, scheduler = plan.ordered()
    assert (assumed.reason, seen.reason) == ("assumed: nobody has seen it there yet", "as it took there before")
    assert assumed.api_away_seconds > 0
    assert seen.api_away_seconds == 6.4
    assert (scheduler.api_away_seconds, scheduler.reason) == (0.0, "")  # the API goes on without it
    assert run.ordered()[1].reason == "measured"
    # Of one that failed: nobody saw it answer again.
    unseen = run.ordered()[0]
    assert (unseen.api_away_seconds, unseen.reason) == (0.0, "not measured, since what restarted it failed")


def test_a_person_reads_the_order_and_the_sums() -> None:
    assert lines([]) == []
    assert lines(
        [Restart(1, "cp1", API, 6.4, "measured"), Restart(1, "w1", "x.service"), Restart(2, "cp1", ETCD, 3)]
    ) == [
        "  1. cp1: static-pod/kube-apiserver (its API is away for about 6 s; measured)",
        "  1. w1: x.service",
        "  2. cp1: static-pod/etcd (its API is away for about 3 s; )",
        "     The API of cp1 is away for about 9 s in all",
    ]


def test_runs_after_each_other_count_on() -> None:
    done = ApplyResult(restarts=[Restart(1, "cp1", "a"), Restart(2, "cp1", "b")])
    done.add(ApplyResult(restarts=[Restart(1, "w1", "a")]))
    assert [one.order for one in done.restarts] == [1, 2, 3]
