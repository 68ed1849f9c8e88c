"""Units whose files are no longer listed: they stop, no boot starts them again, and nothing of them waits for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from playbooks.library import converge, services
    from playbooks.module_utils.kharden import restarts, survey, units
    from playbooks.module_utils.kharden.errors import NodeError

    from .conftest import Node
else:
    from ansible.module_utils import converge, services
    from ansible.module_utils.kharden import restarts, survey, units
    from ansible.module_utils.kharden.errors import NodeError

FOLDER = "/etc/systemd/system"
ROUTES, OTHER = "kharden-routes.service", "other.service"
LINK = f"{FOLDER}/multi-user.target.wants/{ROUTES}"


class Systemd:
    """The edge: a unit that runs when its file goes can be stopped, but neither be restarted nor disabled."""

    def __init__(self, node: Node, *running: str) -> None:
        self.node = node
        self.state = dict.fromkeys(running, "active")
        self.loaded = set(running)
        self.asked: list[str] = []
        self.stops = "inactive"

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        assert timeout
        if argv[0] == "journalctl":
            return 0, "it can't\n"
        verb = next(word for word in argv[1:] if word[0] != "-")
        names = argv[argv.index("--") + 1 :] if "--" in argv else []
        if verb == "show":
            return 0, "\n".join(self.shown(name) for name in names)
        self.asked.append(" ".join((verb, *names)))
        if verb == "daemon-reload":
            self.loaded = {name for name in self.loaded if self.node.path(f"{FOLDER}/{name}").exists()}
        elif verb == "stop":
            self.state[names[0]] = self.stops
        elif verb == "reset-failed":
            self.state[names[0]] = "inactive"
        return (0, "") if set(names) <= self.loaded or verb in {"stop", "reset-failed"} else (5, "not found")

    def shown(self, name: str) -> str:
        load = "loaded" if name in self.loaded else "not-found"
        return f"LoadState={load}\nActiveState={self.state.get(name, 'inactive')}\nActiveEnterTimestampMonotonic=7\n"


@pytest.fixture
def systemd(node: Node, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """A node on which kharden has placed the unit of routes, which runs."""
    folder = str(node.path(FOLDER))
    monkeypatch.setattr(survey, "UNITS", folder)
    monkeypatch.setattr(units, "links", lambda name, of=units.links: of(name, folder))
    made = Systemd(node, ROUTES, OTHER)
    monkeypatch.setattr(units, "run", made.run)
    placed(node, unit(node))
    node.path(LINK).parent.mkdir()
    node.path(LINK).symlink_to(f"{folder}/{ROUTES}")
    node.pending.unlink()
    return made


def unit(node: Node, text: str = "[Unit]\n") -> dict[str, Any]:
    return node.file(f"{FOLDER}/{ROUTES}", text, restarts=["daemon-reload", ROUTES])


def placed(node: Node, *entries: dict[str, Any], plan: bool = False) -> list[str]:
    node.state.mkdir(exist_ok=True)
    return converge.converge({"trust_times": False, "hold": [], **node.arguments(*entries)}, plan=plan)[1]


def served(node: Node, asked: list[str], *, plan: bool = False) -> list[str]:
    given = {name: option.get("default") for name, option in services.ARGUMENTS.items()}
    found = services.Services(
        given | {"restarts": asked, "pending": str(node.pending), "kernel": False, "steady": 0.0}, plan=plan
    )
    found.run()
    return ["{action} {name}".format(**action) for action in found.actions]


def test_a_unit_whose_file_left_is_stopped_before_systemd_forgets_it_and_no_boot_starts_it(
    node: Node, systemd: Systemd
) -> None:
    told = [f"stop {ROUTES}", f"disable {ROUTES}", "daemon-reload systemd"]
    assert served(node, placed(node, plan=True), plan=True) == told
    assert systemd.asked == []
    assert node.path(LINK).is_symlink()
    assert served(node, placed(node)) == told
    assert systemd.asked == [f"stop {ROUTES}", "daemon-reload"]
    assert not node.path(LINK).is_symlink()
    assert restarts.pending(str(node.pending)) == frozenset()
    assert placed(node) == []
    assert served(node, []) == []


def test_what_a_run_that_was_cut_off_had_yet_to_stop_the_next_one_stops(node: Node, systemd: Systemd) -> None:
    placed(node)
    assert served(node, placed(node)) == [f"stop {ROUTES}", f"disable {ROUTES}", "daemon-reload systemd"]
    assert systemd.state[ROUTES] == "inactive"


def test_a_unit_that_is_listed_again_before_it_was_stopped_goes_on(node: Node, systemd: Systemd) -> None:
    assert f"gone/{ROUTES}" in placed(node)
    asked = placed(node, unit(node))
    assert asked == ["daemon-reload", ROUTES]
    assert restarts.pending(str(node.pending)) == set(asked)
    assert systemd.state[ROUTES] == "active"


def test_a_unit_that_was_to_restart_and_then_left_only_stops(node: Node, systemd: Systemd) -> None:
    assert ROUTES in placed(node, unit(node, "[Unit]\nDescription=new\n"))
    asked = placed(node)
    assert asked == ["daemon-reload", f"gone/{ROUTES}"]
    assert restarts.pending(str(node.pending)) == set(asked)
    served(node, asked)
    assert systemd.asked == [f"stop {ROUTES}", "daemon-reload"]


def test_a_unit_that_a_package_has_too_restarts_with_the_packages_file(
    node: Node, systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_OTHER_UNITS", (str(tmp_path),))
    (tmp_path / ROUTES).write_text("[Unit]\n", encoding="ascii")
    assert placed(node) == ["daemon-reload", ROUTES]
    assert systemd.state[ROUTES] == "active"


def test_a_drop_in_that_leaves_restarts_its_unit_and_a_unit_of_somebodys_stays(node: Node, systemd: Systemd) -> None:
    drop_in = node.file(f"{FOLDER}/{OTHER}.d/50.conf", "[Unit]\n", restarts=["daemon-reload", OTHER])
    node.put(f"{FOLDER}/{OTHER}", "[Unit]\n")
    placed(node, unit(node), drop_in)
    node.pending.unlink()
    assert placed(node, unit(node)) == ["daemon-reload", OTHER]
    assert systemd.state == {ROUTES: "active", OTHER: "active"}
    assert node.path(f"{FOLDER}/{OTHER}").exists()


@pytest.mark.parametrize("state", ["failed", "active"])
def test_a_unit_that_does_not_stop_well_is_told_once_with_its_last_words(
    node: Node, systemd: Systemd, state: str
) -> None:
    systemd.stops = state
    with pytest.raises(NodeError, match=f"{ROUTES}: should have stopped and is {state}: it can't"):
        served(node, placed(node))
    assert f"gone/{ROUTES}" in restarts.pending(str(node.pending))
    systemd.stops = "inactive"
    served(node, placed(node))
    assert restarts.pending(str(node.pending)) == frozenset()


def test_a_unit_that_had_failed_before_is_forgotten(node: Node, systemd: Systemd) -> None:
    systemd.state[ROUTES] = systemd.stops = "failed"
    served(node, placed(node))
    assert systemd.asked == [f"stop {ROUTES}", f"reset-failed {ROUTES}", "daemon-reload"]
