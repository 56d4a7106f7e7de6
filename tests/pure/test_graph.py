"""Drawings: what they show, and that the same input gives the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from components import dot
from components.cluster import cib, constraints
from components.plan import managed
from components.topology import Topology
from components.variant import Variant
from halab.cli.app import run
from halab.display import gantt
from halab.display.model import constraints as table

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def test_every_constraint_of_the_pushed_document_is_drawn(topology: Topology) -> None:
    found = constraints.of(topology, managed(topology))
    drawn = dot.constraints(found, "x")
    for cluster in topology.clusters:
        document = ET.fromstring(cib.document(topology, cluster, managed(topology)))
        for element in document.iterfind("configuration/constraints/*"):
            ends = [element.get(key) for key in ("first", "then", "rsc", "with-rsc", "node") if element.get(key)]
            if len(ends) == 2:
                assert f'"{cluster.name}/{ends[0]}" -> "{cluster.name}/{ends[1]}"' in drawn, ET.tostring(element)
            else:
                assert element.get("rsc-pattern")
                assert f'"{cluster.name}/rule' in drawn
        for element in document.iterfind("configuration/resources/*"):
            assert f'"{cluster.name}/{element.get("id")}" [label=' in drawn


def test_a_stack_without_pacemaker_says_so_in_picture_and_table(topology: Topology) -> None:
    found = constraints.of(topology, managed(topology))
    assert (dot.NO_CLUSTER in dot.constraints(found, "x")) == (not topology.clusters)
    assert (dot.NO_CLUSTER in shown(table(found, "x"))) == (not topology.clusters)


def test_an_order_after_a_promotion_and_a_clone_s_instances_are_told() -> None:
    document = ET.fromstring(
        "<configuration><resources><clone id='g-clone'><meta_attributes id='m'>"
        "<nvpair id='a' name='promotable' value='true'/><nvpair id='b' name='clone-max' value='3'/></meta_attributes>"
        "<primitive id='g' class='ocf' provider='halab' type='galera'/></clone>"
        "<primitive id='k' class='systemd' type='k'/></resources><constraints>"
        "<rsc_order id='o' first='g-clone' first-action='promote' then='k' then-action='start' kind='Mandatory'/>"
        "</constraints></configuration>"
    )
    found = constraints.read("core", document)
    assert found.resources[0].kind == "promotable clone"
    assert found.resources[0].instances == 3
    text = shown(table([found], "x"))
    assert "ocf:halab:galera" in text
    assert ["g-clone", "k", "promote", "Mandatory"] in [line.split() for line in text.splitlines()]


_DRAW = """
import sys
from pathlib import Path
from halab.cli.app import run
for stack in sys.argv[1:]:
    for kind in ("topology", "steps", "constraints"):
        for form in ("dot", "text"):
            assert run(["graph", "--stack", stack, "--kind", kind, "--format", form]) == 0
for form in ("svg", "text"):
    assert run(["graph", "--kind", "times", "--format", form]) == 0
"""


def test_the_same_stack_and_times_give_the_same_bytes_whatever_the_hash_seed(state: Path) -> None:
    write_times(state, "collapsed", TIMES)
    stacks = sorted(Variant)
    drawn = []
    for seed in ("1", "2"):
        environment = {**os.environ, "HALAB_STATE": str(state), "PYTHONHASHSEED": seed}
        environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'src'}"
        command = [sys.executable, "-P", "-c", _DRAW, *stacks]
        drawn.append(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert len(drawn[0]) > 50_000
    assert drawn[0] == drawn[1]


def test_constraints_is_short_for_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", "--constraints", "--format", "dot"]) == 0
    short = capsys.readouterr().out
    assert run(["graph", "--kind", "constraints", "--format", "dot"]) == 0
    assert capsys.readouterr().out == short


def step(label: str, start: float, seconds: float, *, ok: bool = True) -> dict[str, Any]:
    return {"step": label, "stage": label.partition(".")[0], "start": start, "seconds": seconds, "ok": ok}


TIMES: dict[str, Any] = {
    "makespan": 100.0,
    "critical": 90.0,
    "cores": 2,
    "busy": 0.7,
    "efficiency": 0.9,
    "critical_path": [{"step": "machine.ready@a", "seconds": 40.0}, {"step": "galera.start@a", "seconds": 50.0}],
    "steps": [
        step("machine.ready@a", 5.0, 40.0),
        step("machine.ready@b", 5.0, 30.0),
        *(step(f"galera.configure@node-{number}", 45.0 + number / 10, 0.5) for number in range(9)),
        step("galera.start@a", 45.0, 50.0),
        step("<&.odd@a", 104.0, 1.0, ok=False),
    ],
    "parts": {"host": 0.1, "build": 101.0, "verification": 20.0},
}


def write_times(state: Path, stack: str, times: object) -> None:
    (state / "history").mkdir(parents=True)
    (state / "history" / f"{stack}.times.json").write_text(json.dumps(times))


def shown(what: Any) -> str:
    console = Console(width=200, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def test_the_drawing_of_an_up_has_one_bar_for_each_step_and_marks_the_critical_ones_and_boots() -> None:
    root = ET.fromstring(gantt.svg(TIMES, "x"))
    told = [title.text or "" for title in root.iter(f"{SVG}title")]
    bars = [line for line in told if " from " in line]
    assert len(bars) == len(TIMES["steps"])
    assert [line.partition(":")[0] for line in bars if "(critical path)" in line] == [
        "machine.ready@a",
        "galera.start@a",
    ]
    assert [line.partition(":")[0] for line in bars if "(VM boots)" in line] == ["machine.ready@b"]
    assert [line.partition(":")[0] for line in bars if "(failed)" in line] == ["<&.odd@a"]
    assert "build 1 min 41 s" in told


def test_no_bar_covers_another_or_its_label() -> None:
    placed = gantt._place(gantt.lanes(gantt.bars(TIMES))["galera"], scale=11.8)
    assert len({one.row for one in placed}) > 1
    for one, other in combinations(placed, 2):
        if one.row == other.row:
            first, second = sorted((one, other), key=lambda placed: placed.left)
            reach = max(first.left + first.width, first.text + gantt._pixels(first.bar.short) - 6)
            assert reach <= min(second.left, second.text)


@pytest.mark.parametrize("seconds", [0.0, 3.0, 59.0, 61.0, 555.0, 3600.0, 90_000.0])
def test_the_time_axis_has_a_dozen_marks_at_most(seconds: float) -> None:
    marks = list(gantt.ticks(seconds))
    assert marks[0] == 0
    assert marks[-1] <= seconds
    assert len(marks) <= 13


def test_the_text_of_an_up_names_each_step_its_time_and_why_it_matters() -> None:
    lines = [line.split() for line in shown(gantt.screen(TIMES)).splitlines()]
    ready = next(line for line in lines if line[:2] == ["machine", "ready@a"])
    assert ready[-3:] == ["40.0", "critical,", "boot"]
    assert sum("configure@node-" in word for line in lines for word in line) == 9


def test_an_up_without_steps_is_still_a_drawing() -> None:
    empty = {**TIMES, "steps": [], "critical_path": [], "parts": {}, "busy": None}
    assert ET.fromstring(gantt.svg(empty, "x")).tag == f"{SVG}svg"
    assert "0 steps" in shown(gantt.screen(empty))


@pytest.mark.parametrize("content", ["{half", "[]", '{"steps": []}', '{"steps": [1], "critical_path": []}'])
def test_times_that_cannot_be_read_are_one_line_that_names_the_file(
    content: str, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HALAB_STATE", str(state))
    assert run(["graph", "--kind", "times"]) == 2
    assert "run ./halab up" in capsys.readouterr().err
    write_times(state, "collapsed", {})
    (state / "history" / "collapsed.times.json").write_text(content)
    assert run(["graph", "--kind", "times", "--format", "svg"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "collapsed.times.json" in said


def test_times_as_a_graph_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", "--kind", "times", "--format", "dot"]) == 2
    assert "text or svg" in capsys.readouterr().err
