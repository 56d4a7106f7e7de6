"""What the table at the end of `up` says, and the estimate of the next run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from halab.display.times import times
from halab.timing import CpuTime, History, RunTimes, StepTime, dependencies, spent

PREFIX = "urn:pulumi:s::halab::halab:lab:Lab$command:remote:Command::"


def step(name: str, start: float, end: float, *, ok: bool = True) -> StepTime:
    return StepTime(PREFIX + name, start, end, ok)


def after(**edges: list[str]) -> dict[str, frozenset[str]]:
    return {PREFIX + name: frozenset(PREFIX + before for before in befores) for name, befores in edges.items()}


def shown(run: RunTimes) -> str:
    out = io.StringIO()
    Console(file=out, width=300, highlight=False).print(times(run))
    return out.getvalue()


def test_the_critical_path_is_the_longest_chain_of_waits_not_the_longest_step() -> None:
    steps = (step("a", 0, 5), step("b", 5, 11), step("c", 0, 10))
    run = RunTimes(steps, 2, after(b=["a"]))
    assert [one.label for one in run.critical_path] == ["a", "b"]
    assert run.critical == 11


def test_the_critical_path_goes_through_components_that_take_no_time_themselves() -> None:
    steps = (step("a", 0, 5), step("b", 5, 11))
    run = RunTimes(steps, 2, after(b=["stage"], stage=["a"]))
    assert [one.label for one in run.critical_path] == ["a", "b"]


def test_a_run_that_kept_both_cores_busy_has_efficiency_one() -> None:
    run = RunTimes((step("a", 0, 10), step("b", 0, 10)), 2, cpu=CpuTime(18.0, 2.0))
    assert run.efficiency == pytest.approx(1.0)


def test_a_run_that_did_one_thing_after_another_without_need_is_half_efficient_on_two_cores() -> None:
    run = RunTimes((step("a", 0, 10), step("b", 10, 20)), 2, cpu=CpuTime(20.0, 0.0))
    assert (run.makespan, run.total) == (20, 20)
    assert run.efficiency == pytest.approx(0.5)


def test_steps_that_only_wait_for_guests_do_not_count_as_work() -> None:
    waiting = tuple(step(f"wait{number}", 0, 10) for number in range(64))
    run = RunTimes((*waiting, step("late", 15, 20)), 2, cpu=CpuTime(4.0, 0.0))
    assert run.busy == pytest.approx(4 / 2 / 20)
    assert run.efficiency == run.chained == pytest.approx(0.5)


def test_without_cpu_seconds_the_critical_path_alone_is_the_efficiency_and_the_table_says_so() -> None:
    run = RunTimes((step("a", 0, 5), step("b", 5, 10)), 2, after(b=["a"]))
    assert run.busy is None
    assert run.efficiency == pytest.approx(1.0)
    assert "only the critical path counts" in shown(run)
    assert "cores ?" in shown(run)


def test_the_table_shows_both_parts_of_the_efficiency() -> None:
    run = RunTimes((step("a", 0, 5), step("b", 10, 20)), 2, cpu=CpuTime(20.0, 10.0))
    assert "CPU of the VMs 20 s and of halab 10 s ÷ 2 cores = 15 s" in shown(run)
    assert "efficiency max(critical path 0.50, cores 0.75) of the run = 0.75" in shown(run)


def test_cpu_counters_of_vms_that_began_during_the_run_count_from_zero() -> None:
    assert spent({"old": 10.0, "rebuilt": 50.0, "gone": 7.0}, {"old": 12.0, "rebuilt": 5.0, "new": 3.0}) == 2 + 5 + 3


def test_stages_are_told_in_the_order_in_which_they_began() -> None:
    run = RunTimes(
        (step("galera.ready", 30, 40), step("machine.ready@a", 0, 20), step("galera.configure@a", 20, 30)), 2
    )
    assert [(stage.name, stage.start, stage.end, stage.busy) for stage in run.stages] == [
        ("machine", 0, 20, 20),
        ("galera", 20, 40, 20),
    ]


def test_what_a_resource_waited_for_is_read_from_every_field_of_the_checkpoint_that_orders_it() -> None:
    found = dependencies(
        [
            {"urn": "stack"},
            {
                "urn": "x",
                "parent": "stack",
                "dependencies": ["a"],
                "propertyDependencies": {"stdin": ["b"], "triggers": None},
                "replaceWith": ["c"],
            },
        ]
    )
    assert found == {"stack": frozenset(), "x": frozenset({"stack", "a", "b", "c"})}


def test_the_estimate_counts_what_is_left_of_running_steps_and_how_many_run_at_once() -> None:
    history = History({"a": 10.0, "b": 20.0, "c": 30.0}, together=2.0)
    assert history.remaining(["b", "c"], {"a": 4.0}) == pytest.approx((20 + 30 + 6) / 2)


def test_the_estimate_is_never_shorter_than_the_longest_step_that_runs() -> None:
    assert History({"a": 100.0}, together=4.0).remaining([], {"a": 10.0}) == pytest.approx(90)


def test_there_is_no_estimate_when_most_steps_were_never_seen() -> None:
    assert History({"a": 10.0}).remaining(["a", "b", "c"], {}) is None


def test_a_small_run_teaches_its_own_steps_but_not_how_many_run_at_once(tmp_path: Path) -> None:
    history = History(dict.fromkeys("abcdef", 10.0), together=3.0)
    learned = history.learn(RunTimes((step("a", 0, 4), step("b", 4, 8, ok=False)), 2))
    assert learned.seconds["a"] == 4
    assert learned.seconds["b"] == 10, "a step that failed says nothing about how long it takes"
    assert learned.together == 3.0


def test_a_history_that_cannot_be_read_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "h.json").write_text("{half")
    assert History.read(tmp_path / "h.json") == History()
