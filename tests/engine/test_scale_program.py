"""Five controllers become three: the real program of the default stack, with providers that only take notes."""

from __future__ import annotations

import pytest

from components.plan import plan
from halab.impact import Change, change
from tests.engine.noted_stack import Stack

GONE = ("controller-4", "controller-5")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    found = Stack(tmp_path_factory.mktemp("scale"), "collapsed")
    found.edit(("roles", "controller", "count"), 5)
    made = found.engine().up()
    assert made.ok, made.failures
    found.edit(("roles", "controller", "count"), 3)
    return found


@pytest.fixture(scope="module")
def planned(stack: Stack) -> Change:
    found = stack.engine().preview()
    assert found.ok, found.failures
    return change(found.steps)


@pytest.fixture(scope="module")
def done(stack: Stack, planned: Change) -> list[tuple[str, str]]:
    stack.done.clear()
    made = stack.engine().up()
    assert made.ok, made.failures
    return list(stack.done)


@pytest.mark.timeout(600)
def test_the_preview_names_who_goes_and_rebuilds_nobody(planned: Change) -> None:
    assert sorted(planned.removed) == sorted(GONE)
    assert (planned.added, planned.rebuilt) == ((), ())


@pytest.mark.timeout(600)
def test_those_that_stay_are_done_with_them_before_a_vm_goes(done: list[tuple[str, str]]) -> None:
    first = min(done.index(("delete", f"{name}-domain")) for name in GONE)
    for step in ("haproxy.configure@controller-1", "pacemaker.push@controller-1", "rabbitmq.ready", "galera.ready"):
        assert done.index(("update", step)) < first, step
    for member in range(1, 4):
        assert done.index(("update", f"corosync.start@controller-{member}")) < done.index(
            ("update", "pacemaker.push@controller-1")
        )


@pytest.mark.timeout(600)
def test_nothing_is_undone_on_those_that_stay(stack: Stack, done: list[tuple[str, str]]) -> None:
    steps = plan(stack.topology).by_name
    assert not [name for what, name in done if what == "delete" and name in steps]
    assert not [name for what, name in done if what == "create"]


@pytest.mark.timeout(600)
def test_afterwards_nothing_is_left_to_do(stack: Stack, done: list[tuple[str, str]]) -> None:
    stack.done.clear()
    again = stack.engine().up()
    assert again.ok
    assert stack.done == []
