"""What a person's words choose, and in which runs that is carried out."""

from __future__ import annotations

from pathlib import Path

import pytest

from kharden.apply import stages, waves
from kharden.apply.build import BuildFolder
from kharden.apply.choice import Choice, Wave, chosen, phases
from kharden.apply.runner import ApplyResult, Failure
from kharden.apply.stages import Stage
from kharden.errors import InputError, RemoteError

NODES = ("cp1", "cp2", "cp3", "w1", "w2", "w3", "w4", "w5")
ROLES = {name: {"role": "control-plane" if name.startswith("cp") else "worker"} for name in NODES}
BUILD = BuildFolder(Path("/build"), {"nodes": ROLES})


def choice(**words: str) -> Choice:
    return chosen(NODES, **(dict.fromkeys(("limit", "tags", "wave", "max_fail")) | words))


def test_nothing_said_is_everything() -> None:
    assert choice() == Choice((), (), None, 0)
    assert not choice().in_waves
    assert stages.whole(BUILD, choice()) == Stage(NODES)


def test_nodes_and_phases_come_in_their_own_order() -> None:
    said = choice(limit="w2, cp1,w2", tags="manifests,host", wave="20%", max_fail="2")
    assert said == Choice(("cp1", "w2"), ("host", "manifests"), Wave(20, percent=True), 2)
    assert stages.whole(BUILD, choice(limit="w2")).others == CONTROL_PLANES  # a worker isn't asked for anything


def test_the_phases_are_those_of_the_playbook() -> None:
    assert phases() == (
        *("preflight", "host", "etcd", "first-control-plane", "control-planes", "workers", "dns", "kubeadm"),
        *("serving-certificates", "manifests", "health"),
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({"limit": "w11"}, "--limit: 'w11' is no node of this cluster: write w1"),
        ({"limit": "zzz"}, "--limit: 'zzz' is no node of this cluster: there are cp1, cp2, cp3, w1, w2, w3, w4, w5"),
        ({"limit": "w1,"}, "--limit 'w1,': names nothing: write names with commas between them"),
        ({"limit": ""}, "--limit '': names nothing: write names with commas between them"),
        ({"tags": "manifest"}, "--tags: 'manifest' is no phase: write manifests"),
        ({"tags": "control_planes"}, "--tags: 'control_planes' is no phase: write control-planes"),
        ({"wave": "0"}, "--wave '0': is no number of workers: write 3, or 20% of them"),
        ({"wave": "101%"}, "--wave '101%': is no number of workers: write 3, or 20% of them"),
        ({"wave": "-1"}, "--wave '-1': is no number of workers: write 3, or 20% of them"),
        ({"wave": "1.5"}, "--wave '1.5': is no number of workers: write 3, or 20% of them"),
        ({"max_fail": "few"}, "--max-fail 'few': is no number of workers: write 0, 1, 2 …"),
        ({"max_fail": "-1"}, "--max-fail '-1': is no number of workers: write 0, 1, 2 …"),
        ({"limit": "\x1b[2J"}, r"--limit: '\x1b[2J' is no node of this cluster"),
    ],
)
def test_what_means_nothing_is_one_line(words: dict[str, str], line: str) -> None:
    with pytest.raises(InputError) as caught:
        choice(**words)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ({"max_fail": "1"}, [["w1"], ["w2", "w3", "w4", "w5"]]),
        ({"wave": "2"}, [["w1", "w2"], ["w3", "w4"], ["w5"]]),
        ({"wave": "9"}, [["w1", "w2", "w3", "w4", "w5"]]),
        ({"wave": "50%"}, [["w1", "w2", "w3"], ["w4", "w5"]]),
        ({"wave": "1%"}, [["w1"], ["w2"], ["w3"], ["w4"], ["w5"]]),
        ({"wave": "2", "limit": "w5,cp1,w3,w1"}, [["w1", "w3"], ["w5"]]),
        ({"wave": "2", "limit": "cp1"}, []),
    ],
)
def test_workers_go_in_waves(words: dict[str, str], parts: list[list[str]]) -> None:
    assert [list(part) for part in stages.waves(BUILD, choice(**words))] == parts


class Tried:
    """What was tried, one stage after the other; some nodes fail."""

    def __init__(self, *failing: str, status: str = "failed") -> None:
        self.failing = failing
        self.status = status
        self.stages: list[Stage] = []

    def __call__(self, stage: Stage) -> tuple[ApplyResult, RemoteError | None]:
        self.stages.append(stage)
        failures = [Failure(name, "Do it", "broken") for name in stage.nodes if name in self.failing]
        if not failures:
            return ApplyResult("successful"), None
        error = RemoteError(f"{failures[0].node}: Do it: broken", remedy="mend that")
        return ApplyResult(self.status, failures), error

    @property
    def nodes(self) -> list[tuple[str, ...]]:
        return [stage.nodes for stage in self.stages]


CONTROL_PLANES = ("cp1", "cp2", "cp3")


def test_control_planes_come_first_and_what_is_the_clusters_last() -> None:
    tried = Tried()
    assert waves.in_waves(BUILD, choice(wave="3"), tried).status == "successful"
    assert tried.nodes == [CONTROL_PLANES, ("w1", "w2", "w3"), ("w4", "w5"), NODES]
    first, wave, _, last = tried.stages
    assert first.waits == ("w1", "w2", "w3", "w4", "w5")  # where none may fail they all have to be there
    assert not {"dns", "manifests", "health"} & set(first.phases)
    assert "health" in wave.phases
    assert not {"dns", "manifests"} & set(wave.phases)
    assert (wave.others, wave.waits) == (CONTROL_PLANES, ())
    assert last.phases == ("dns", "manifests", "health")


def test_machines_of_etcd_go_with_the_control_planes_that_need_them() -> None:
    tried = Tried()
    build = BuildFolder(Path("/build"), {"nodes": ROLES | {"etcd1": {"role": "etcd"}}})
    waves.in_waves(build, choice(wave="5"), tried)
    assert tried.nodes == [(*CONTROL_PLANES, "etcd1"), NODES[3:], (*NODES, "etcd1")]


def test_workers_alone_wait_for_each_other_too() -> None:
    tried = Tried()
    waves.in_waves(BUILD, choice(wave="1", limit="w2,w4"), tried)
    assert tried.nodes == [("w2",), ("w4",)]  # the cluster's own phases need a control plane
    assert [stage.waits for stage in tried.stages] == [("w4",), ()]
    assert tried.stages[0].others == CONTROL_PLANES


def test_a_phase_that_was_not_chosen_runs_in_no_stage() -> None:
    tried = Tried()
    waves.in_waves(BUILD, choice(wave="5", tags="kubeadm"), tried)
    assert [(stage.nodes, stage.phases) for stage in tried.stages] == [
        (CONTROL_PLANES, ("kubeadm",)),
        (NODES[3:], ("kubeadm",)),
    ]


@pytest.mark.parametrize("tags", ["dns", "manifests", "dns,manifests"])
def test_phases_of_the_cluster_alone_run_on_no_worker(tags: str) -> None:
    tried = Tried()
    waves.in_waves(BUILD, choice(wave="1", tags=tags), tried)
    assert [stage.phases for stage in tried.stages] == [tuple(tags.split(","))]


def test_as_many_as_may_fail_stop_nobody() -> None:
    tried = Tried("w2", "w4")
    with pytest.raises(RemoteError) as caught:
        waves.in_waves(BUILD, choice(wave="1", max_fail="2"), tried)
    assert str(caught.value).startswith("2 workers failed, and all others are done: w2, w4: ")
    assert caught.value.details == ("w2: Do it: broken", "w4: Do it: broken")
    assert list(caught.value.as_document()["failures"]) == ["w2", "w4"]
    assert [stage.allowed for stage in tried.stages] == [0, 2, 2, 1, 1, 0, 0]
    assert tried.nodes[-1] == (*CONTROL_PLANES, "w1", "w3", "w5")
    assert tried.stages[-1].others == ()  # nobody waits for those that failed


def test_one_more_stops_before_the_next_wave() -> None:
    tried = Tried("w1", "w2")
    with pytest.raises(RemoteError) as caught:
        waves.in_waves(BUILD, choice(wave="2", max_fail="1"), tried)
    assert str(caught.value).startswith(
        "stopped, since 2 workers failed and 1 may: w1, w2; not begun: w3, w4, w5: mend that and apply again"
    )
    assert tried.nodes == [CONTROL_PLANES, ("w1", "w2")]
    assert list(caught.value.as_document()["failures"]) == ["w1", "w2"]


@pytest.mark.parametrize("tried", [Tried("cp2"), Tried("w1", status="canceled")], ids=["control plane", "interrupted"])
def test_what_no_number_allows_stops_at_once(tried: Tried) -> None:
    with pytest.raises(RemoteError, match=r"^(cp2|w1): Do it: broken: mend that$") as caught:
        waves.in_waves(BUILD, choice(max_fail="3"), tried)
    assert list(caught.value.as_document()["failures"]) == [caught.value.message.partition(":")[0]]
    assert len(tried.stages) in {1, 2}


@pytest.mark.parametrize(
    ("tags", "joins", "prepared"),
    [((), True, True), (("workers",), True, False), (("host", "workers"), True, True), (("kubeadm",), False, True)],
)
def test_who_joins_was_made_ready_for_it(tags: tuple[str, ...], joins: bool, prepared: bool) -> None:  # noqa: FBT001
    stage = Stage(("w1",), phases=tags)
    assert (stage.joins, stage.prepared) == (joins, prepared)
