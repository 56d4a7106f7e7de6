"""One node replaced: the real program of the default stack, with providers that only take notes.

What is done to whom, and in which order: the cluster is told before the VM goes, and nobody else is touched.
"""

from __future__ import annotations

from typing import Any

import pytest

from components.plan import plan
from halab.actions.replace import scope
from halab.embedded.engine import Summary
from tests.engine.noted_stack import Stack

NODE = "controller-2"


def replace(stack: Stack, *, preview: bool = False) -> Summary:
    engine = stack.engine()
    run = engine.preview if preview else engine.up
    return run(target=scope(stack.workspace, stack.topology.node(NODE)), replace=(f"{NODE}-root",))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    found = Stack(tmp_path_factory.mktemp("replace"), "collapsed")
    made = found.engine().up()
    assert made.ok, made.failures
    return found


@pytest.fixture(scope="module")
def replaced(stack: Stack) -> list[tuple[str, str]]:
    stack.done.clear()
    done = replace(stack)
    assert done.ok, done.failures
    return list(stack.done)


def place(done: list[tuple[str, str]], what: str, name: str) -> int:
    assert (what, name) in done, f"{what} {name} is not among {done}"
    return done.index((what, name))


@pytest.mark.timeout(600)
def test_only_the_node_and_what_others_have_to_do_with_it_is_done_again(
    stack: Stack, replaced: list[tuple[str, str]]
) -> None:
    steps = plan(stack.topology).by_name
    own = {name for name, step in steps.items() if step.node == NODE}
    names_it = {name for name, step in steps.items() if NODE in step.members}
    parts = {f"{NODE}-root", f"{NODE}-domain"}
    assert {name for what, name in replaced if what == "create"} == own | names_it | parts
    assert not [name for what, name in replaced if what == "update"]
    assert {name for what, name in replaced if what == "delete"} == names_it | parts, "a dead node's own steps just go"


@pytest.mark.timeout(600)
def test_the_clusters_are_told_before_the_vm_goes_and_wait_for_the_new_one(replaced: list[tuple[str, str]]) -> None:
    gone, come = (place(replaced, what, f"{NODE}-domain") for what in ("delete", "create"))
    witness = "controller-3"
    for step in (f"pacemaker.admit@{witness}", f"rabbitmq.member@{witness}", "pacemaker.push@controller-1"):
        assert place(replaced, "delete", step) < gone
        assert place(replaced, "create", step) > come
    # first the node stands by, then fencing pauses, and only then it goes
    assert place(replaced, "delete", f"pacemaker.admit@{witness}") < place(
        replaced, "delete", "pacemaker.push@controller-1"
    )
    # it takes part again when it is configured, and is waited for
    admitted = place(replaced, "create", f"pacemaker.admit@{witness}")
    assert place(replaced, "create", f"galera.configure@{NODE}") < admitted
    assert place(replaced, "create", "pacemaker.push@controller-1") < admitted
    assert place(replaced, "create", f"corosync.start@{NODE}") < place(
        replaced, "create", "pacemaker.push@controller-1"
    )
    assert ("create", f"galera.member@{witness}") in replaced


@pytest.mark.timeout(600)
def test_a_preview_of_it_tells_the_same_and_does_nothing(stack: Stack, replaced: list[tuple[str, str]]) -> None:
    stack.done.clear()
    told = replace(stack, preview=True)
    assert told.ok
    assert stack.done == []
    assert {urn.rpartition("::")[2] for op, urn, _ in told.steps if op == "replace"} == {
        name for what, name in replaced if what == "create"
    }


@pytest.mark.timeout(600)
def test_afterwards_nothing_is_left_to_do(stack: Stack, replaced: list[tuple[str, str]]) -> None:
    stack.done.clear()
    again: Any = stack.engine().up()
    assert again.ok
    assert stack.done == []
