"""The tasks themselves: that each can be found, and says what it is for."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tasks
from kharden import cli
from kharden.cli.site import named_in_chain
from kharden.errors import InputError

if TYPE_CHECKING:
    from invoke.collection import Collection

INSTALLED = cli.collection(Path("/nowhere"), default_cluster=None)
CONTRACT = {
    *("validate", "render", "plan", "apply", "verify", "kubeconfig", "hosts.scan"),
    *("lab.up", "lab.down", "lab.status", "lab.shell"),
    *("artifacts.fetch", "artifacts.bundle", "artifacts.verify"),
}


def names(collection: Collection) -> set[str]:
    return set(collection.task_names)


def test_the_installed_program_has_every_task_of_the_contract() -> None:
    assert names(INSTALLED) >= CONTRACT


def test_a_checkout_has_the_same_and_the_projects_own() -> None:
    assert names(tasks.namespace) == names(INSTALLED) | {"test", "bench"}


@pytest.mark.parametrize("name", sorted(names(tasks.namespace)))
def test_every_task_and_every_option_says_what_it_is_for(name: str) -> None:
    task = tasks.namespace[name]
    assert inspect.getdoc(task)
    assert str(inspect.getdoc(task)).splitlines()[0].endswith(".")
    for argument in task.get_arguments():
        assert argument.help, f"{name} --{argument.name}"
        assert not argument.help.endswith(".")


@pytest.mark.parametrize("name", sorted(names(INSTALLED)))
def test_no_option_has_a_letter_alone(name: str) -> None:
    # A cluster that is named by one would not be found in the chain.
    for argument in INSTALLED[name].get_arguments():
        assert not [form for form in argument.names if len(form) == 1], argument


@pytest.mark.parametrize("name", sorted(names(INSTALLED) - {"hosts.scan"}))
def test_every_task_can_be_told_its_cluster(name: str) -> None:
    assert "cluster" in {argument.name for argument in INSTALLED[name].get_arguments()}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], None),
        (["plan"], None),
        (["plan", "--cluster", "a"], "a"),
        (["plan", "--cluster=a", "apply"], "a"),
        (["render", "plan", "--cluster", "a", "apply", "--cluster=a"], "a"),
        (["plan", "--json"], None),
    ],
)
def test_the_cluster_of_a_chain(arguments: list[str], named: str | None) -> None:
    assert named_in_chain(arguments) == named


@pytest.mark.parametrize(
    "arguments", [["plan", "--cluster", "a", "apply", "--cluster", "b"], ["plan", "-c", "a"], ["plan", "-ca"]]
)
def test_a_chain_of_two_clusters_is_refused(arguments: list[str]) -> None:
    with pytest.raises(InputError):
        named_in_chain(arguments)
