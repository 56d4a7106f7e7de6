"""What `preview` says of day-two edits of a stack file, from the engine's own summary of the real program."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from rich.console import Console

from halab.actions.preview import show_changes
from halab.impact import change, words
from tests.engine.noted_stack import Stack


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    stack = Stack(tmp_path_factory.mktemp("impact"), "collapsed")
    done = stack.engine().up()
    assert done.ok, done.failures
    return stack


@pytest.fixture
def stack(made: Stack) -> Iterator[Stack]:
    """As it was brought up, whatever the test before did to its file."""
    before = made.file.read_text()
    yield made
    made.file.write_text(before)


def told(stack: Stack, path: Sequence[str], value: Any) -> list[str]:
    stack.edit(path, value)
    planned = stack.engine().preview()
    assert planned.ok, planned.failures
    return words(stack.topology, change(planned.steps))


@pytest.mark.timeout(600)
def test_without_an_edit_nothing_is_touched(stack: Stack) -> None:
    planned = stack.engine().preview()
    assert not change(planned.steps)


@pytest.mark.timeout(600)
def test_another_size_of_all_controllers_is_the_loss_of_what_they_hold(stack: Stack) -> None:
    found = told(stack, ("roles", "controller", "memory"), 4096)
    for group in ("Pacemaker cluster core", "galera", "rabbitmq"):
        assert (
            f"{group}: controller-1, controller-2 and controller-3 leave and join again; all of it goes, "
            + ("and what it holds is lost")
            in found
        )
    summary = stack.engine().preview()
    console = Console(width=200, record=True, file=io.StringIO())
    show_changes(stack.workspace, summary, console)
    assert "up refuses to do that at once: ./halab replace controller-1 controller-2 controller-3" in (
        console.export_text()
    )


@pytest.mark.timeout(600)
def test_two_more_controllers_are_two_more_votes_and_none_is_lost(stack: Stack) -> None:
    found = told(stack, ("roles", "controller", "count"), 5)
    for group in ("Pacemaker cluster core", "galera", "rabbitmq"):
        assert f"{group}: controller-4 and controller-5 join; 3 → 5 votes, quorum 2 → 3" in found
    assert not [line for line in found if "leave" in line]
    assert [line for line in found if line.startswith("haproxy: configure again on controller-1, controller-2")]


@pytest.mark.timeout(600)
def test_one_more_compute_is_a_remote_and_a_new_configuration_of_the_cluster(stack: Stack) -> None:
    found = told(stack, ("roles", "compute", "count"), 2)
    assert "Pacemaker cluster core: compute-2 joins as remote; no vote changes" in found
    assert "pacemaker: push again on controller-1" in found


@pytest.mark.timeout(600)
def test_another_timer_rebuilds_nobody(stack: Stack) -> None:
    found = told(stack, ("timers", "token"), 12_000)
    assert found == ["corosync: start again on controller-1, controller-2 and controller-3"]
