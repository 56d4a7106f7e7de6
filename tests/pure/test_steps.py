"""The step graph by itself: names, orders, cycles, waves and the critical path."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.recipe import File, Recipe
from components.steps import GraphError, Step, StepGraph, merge, on

RECIPE = Recipe(Path("/nowhere/disk.sh"))


def step(name: str, *after: str) -> Step:
    return Step(name, name.partition("@")[2] or "a", RECIPE, "configure", after=frozenset(after))


DIAMOND = (step("disk.one@a"), step("disk.two@a", "disk.one@a"), step("disk.two@b", "disk.one@a"))
GRAPH = merge([DIAMOND, [step("disk.ready", "disk.two@a", "disk.two@b")]])


def test_a_step_is_named_after_its_recipe_action_and_node() -> None:
    assert on(RECIPE, "configure", "controller-1") == "disk.configure@controller-1"


def test_a_gate_is_a_step_without_a_node_in_its_name() -> None:
    assert [one.name for one in GRAPH.steps if one.is_gate] == ["disk.ready"]
    assert {one.stage for one in GRAPH.steps} == {"disk"}


def test_every_step_comes_after_those_it_is_after() -> None:
    order = [one.name for one in GRAPH.topological()]
    assert all(order.index(before) < order.index(one.name) for one in GRAPH.steps for before in one.after)


def test_waves_hold_what_could_run_at_once() -> None:
    assert [[one.name for one in wave] for wave in GRAPH.waves()] == [
        ["disk.one@a"],
        ["disk.two@a", "disk.two@b"],
        ["disk.ready"],
    ]


def test_ancestors_are_all_that_must_be_done_before() -> None:
    assert GRAPH.ancestors("disk.ready") == {"disk.one@a", "disk.two@a", "disk.two@b"}
    assert GRAPH.ancestors("disk.two@b") == {"disk.one@a"}


def test_the_critical_path_follows_the_seconds() -> None:
    path = GRAPH.critical_path({"disk.two@a": 3.0, "disk.two@b": 8.0})
    assert [one.name for one in path] == ["disk.one@a", "disk.two@b", "disk.ready"]


def test_a_graph_without_steps_has_no_waves_and_no_path() -> None:
    assert StepGraph(()).waves() == ()
    assert StepGraph(()).critical_path() == ()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((step("x.a@n", "x.b@n"), step("x.b@n", "x.a@n")), "cycle: "),
        ((step("x.a@n"), step("x.a@n")), "doubled steps: x.a@n"),
        ((step("x.a@n", "y.ready"),), "x.a@n is after y.ready, which no stage has"),
    ],
)
def test_steps_without_an_order_are_refused(steps: tuple[Step, ...], said: str) -> None:
    with pytest.raises(GraphError, match=said):
        StepGraph(steps)


def test_a_file_has_an_absolute_path() -> None:
    with pytest.raises(ValueError, match="an absolute path is needed"):
        File("etc/passwd", "")
