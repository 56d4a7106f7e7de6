"""Results of faults side by side: the worst of all runs, goals missed, and what each architecture takes to come up."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from components.topology import Topology, derive
from components.variant import load
from halab.actions import compare as action
from halab.actions.up_report import Parts, note_times
from halab.display import comparison as display
from halab.display import fault as display_fault
from halab.errors import RefusedError
from halab.fault import result
from halab.fault.comparison import Comparison, baseline, compare, mixed, reason
from halab.fault.result import Result
from halab.timing import CpuTime, RunTimes, StepTime
from halab.workspace import Workspace, write_json

ROOT = Path(__file__).parents[2]
NAMES = ("collapsed", "keepalived")


def probe(outage: float) -> dict[str, Any]:
    latency = {"median": 0.02, "worst": 1.0}
    return {
        "asked": 100,
        "failures": int(outage * 2),
        "outage": outage,
        "total": outage,
        "over": True,
        "outages": [],
        "before": latency,
        "during": latency,
    }


def run(stack: str, fault: str, outage: float, well: float | None = 100.0, **more: Any) -> Result:
    found = Result(
        fault=fault,
        stack=stack,
        variant=stack,
        began="2026-11-21T15:00:00Z",
        seed=1,
        ok=True,
        problem="",
        victims=("controller-1",),
        goals={"ping": 25, "api": 30, "token": 30, "database": 30},
        probes={name: probe(outage) for name in ("ping", "api", "token", "database")},
        fenced={"controller-1": 31.0},
        steady=outage,
        well=well,
        ended=140.0,
        hands=(),
        events=((0.0, "controller-1 switched off"),),
        acknowledged=200,
        lost=0,
        checks=(),
        probe_limit=5.0,
        accelerator="qemu",
        host={"cpu": "Some CPU", "cores": 2, "memory_gib": 23.5, "kernel": "6.1"},
        versions={"halab": "abc"},
        key="0123",
    )
    return replace(found, **more)


HOST = {"cpu": "Some CPU", "cores": 2, "memory_gib": 23.5, "kernel": "6.1"}
URN = "urn:pulumi:x::halab::halab:command:Stage$command:remote:Command::{}"


def up(began: str, cpu: float, count: int = 60, names: Sequence[str] = (), **stages: float) -> dict[str, Any]:
    """What `up` notes: stages one after the other, seconds each, and short steps: `names`, or up to `count` in all."""
    ended, steps, after = 0.0, list[StepTime](), dict[str, frozenset[str]]()
    for stage, seconds in stages.items():
        urn = URN.format(f"{stage}.start@a")
        after[urn] = frozenset(step.urn for step in steps[-1:])
        steps.append(StepTime(urn, ended, ended + seconds))
        ended += seconds
    names = names or [f"short.{n}@a" for n in range(count - len(steps))]
    steps += [StepTime(URN.format(name), 0.0, 0.1) for name in names]
    times = RunTimes(tuple(steps), 2, after, CpuTime(cpu, 5.0)).as_json()
    return {**times, "parts": {}, "began": f"{began}T10:00:00Z", "host": HOST, "accelerator": "qemu", "versions": {}}


TIMES = {
    "collapsed": up("2026-11-20", 500.0, pacemaker=120, galera=80),
    "keepalived": up("2026-11-21", 450.0, galera=100, keystone=90),
}


def step_names(workspace: Workspace) -> list[str]:
    return [step.name for step in workspace.plan.steps]


@pytest.fixture
def topologies() -> dict[str, Topology]:
    return {name: derive(load(ROOT, name)) for name in NAMES}


@pytest.fixture
def found(topologies: dict[str, Topology]) -> Comparison:
    results = [
        run("collapsed", "vip-owner-off", 12.0),
        run("collapsed", "vip-owner-off", 40.5),
        run("keepalived", "vip-owner-off", 4.0, goals={"ping": 5}),
        run(
            "collapsed",
            "all-off",
            90.0,
            well=None,
            ok=False,
            problem="waited 1800 s for all to be well; seen: no quorum",
        ),
        run("elsewhere", "vip-owner-off", 999.0),
    ]
    return compare(topologies, results, dict.fromkeys(NAMES, 60), TIMES)


def cell(found: Comparison, fault: str, measure: str, stack: str) -> Any:
    row = next(row for row in found.rows if (row.fault, row.measure) == (fault, measure))
    return row.cells[found.stacks.index(stack)]


def test_the_worst_of_all_runs_stands_beside_the_goal(found: Comparison) -> None:
    worst = cell(found, "vip-owner-off", "ping", "collapsed")
    assert (worst.seconds, worst.runs, worst.goal, worst.missed) == (40.5, 2, 25, True)
    assert display.words(worst) == "40 s ✗ (≤ 25) of 2"
    other = cell(found, "vip-owner-off", "ping", "keepalived")
    assert (other.seconds, other.goal, other.missed) == (4.0, 5, False)
    assert display.words(other) == "4.0 s (≤ 5)"


def test_a_cloud_that_did_not_come_back_is_no_number(found: Comparison) -> None:
    gone = cell(found, "all-off", "well", "collapsed")
    assert (gone.seconds, gone.missed) == (None, True)
    assert display.words(gone).startswith("did not come back ✗")


def test_what_was_not_run_and_what_cannot_be_are_told_apart(found: Comparison) -> None:
    assert display.words(cell(found, "proxy-kill", "database", "collapsed")) == "not run"
    assert display.words(cell(found, "corosync-kill", "well", "keepalived")) == "no corosync anywhere"


def test_faults_that_no_stack_has_gone_through_are_a_line_and_no_rows(topologies: dict[str, Topology]) -> None:
    found = compare(topologies, [run("keepalived", "vip-owner-off", 4.0)], dict.fromkeys(NAMES, 60), TIMES)
    for document in (display.markdown(found), display.page(found)):
        assert document.count("api-kill") == 1
        assert document.count("vip-owner-off") >= 1
    assert "faults that none of these has gone through: member-off, proxy-kill" in display.markdown(found)


def test_the_reason_for_another_makespan_is_in_numbers(found: Comparison) -> None:
    first, second = found.costs
    path = "-10 s critical path (pacemaker -120 s, keystone +90 s, galera +20 s)"
    assert reason(second, first) == f"-10 s: {path}, -50 CPU s in guests"
    assert reason(first, first) == ""
    assert reason(replace(second, vms=second.vms + 9), first).startswith("-10 s: +9 VMs")
    assert reason(replace(second, machine="another"), first).endswith("on another machine")


def test_a_stack_is_held_against_collapsed_wherever_that_stands(topologies: dict[str, Topology]) -> None:
    turned = dict(reversed(topologies.items()))
    found = compare(turned, [], dict.fromkeys(NAMES, 60), TIMES)
    assert baseline(found) == ("collapsed", found.costs[1])
    assert "| beside collapsed | -10 s: " in display.markdown(found)


def test_what_was_measured_on_several_days_is_said_to_be(topologies: dict[str, Topology]) -> None:
    results = [
        run("keepalived", "vip-owner-off", 4.0),
        run("keepalived", "api-kill", 4.0),
        run("collapsed", "vip-owner-off", 12.0),
        run("collapsed", "api-kill", 2.0, began="2026-11-20T15:00:00Z", versions={"halab": "def"}, key="4567"),
    ]
    found = compare(topologies, results, dict.fromkeys(NAMES, 60), TIMES)
    (line,) = mixed(found)
    assert line == (
        "mixed for collapsed: runs 1 of 2026-11-20, 1 of 2026-11-21; built 2026-11-20, 2 states of halab, "
        "2 different clouds"
    )
    for document in (display.markdown(found), display.page(found)):
        assert line in document
        assert "2, 2026-11-20 to 2026-11-21" in document


def test_what_is_there_is_written_without_a_run(topologies: dict[str, Topology], tmp_path: Path) -> None:
    (tmp_path / "project" / "docs").mkdir(parents=True)
    workspaces = [Workspace(tmp_path / "project", topology, tmp_path / "state") for topology in topologies.values()]
    with pytest.raises(RefusedError, match="no fault was carried out"):
        action.run(workspaces, [], carry_out=False, write=True, as_json=False)
    for workspace in workspaces:
        write_json(workspace.build, up("2026-11-20", 400.0, names=step_names(workspace), galera=100))
        write_json(workspace.times, up("2026-11-21", 40.0, 5, galera=10))
        result.write(workspace, run(workspace.stack, "vip-owner-off", 12.0))
    assert action.run(workspaces, [], carry_out=False, write=True, as_json=False) == 0
    docs = tmp_path / "project" / "docs"
    text = (docs / "comparison.md").read_text()
    assert "| makespan | 1 min 40 s | 1 min 40 s |" in text, "a later up that did a part is none to compare"
    assert "12 s (≤ 25)" in text
    assert sorted(path.name for path in docs.iterdir()) == ["comparison.html", "comparison.md", "comparison.svg"]


@pytest.mark.parametrize("wrong", ["a step failed", "a step is missing", "nothing is known of a step's end"])
def test_an_up_that_failed_or_did_a_part_is_no_build_also_where_its_file_says_so(
    topologies: dict[str, Topology], tmp_path: Path, wrong: str
) -> None:
    workspace = Workspace(tmp_path, topologies["collapsed"], tmp_path / "state")
    good = up("2026-11-20", 400.0, names=step_names(workspace), galera=100)
    bad = json.loads(json.dumps({**good, "makespan": 3.0}))
    if wrong == "a step is missing":
        bad["steps"].append(dict(bad["steps"].pop(), step="controller-1"))
    elif wrong == "a step failed":
        # of a node's VM, while every step of the plan is there
        bad["steps"].append(dict(bad["steps"][-1], step="controller-1", ok=False))
    else:
        del bad["steps"][-1]["ok"]
    write_json(workspace.times, bad)
    assert action._whole_up(workspace) is None
    if wrong != "a step is missing":
        write_json(workspace.build, bad)
        assert action._whole_up(workspace) is None
    write_json(workspace.times, good)
    found = action._whole_up(workspace)
    assert found is not None
    assert found["makespan"] == good["makespan"]


@pytest.mark.parametrize("ok", [True, False])
def test_an_up_that_built_everything_and_then_did_not_verify_is_noted_as_no_build(
    topologies: dict[str, Topology], tmp_path: Path, ok: bool
) -> None:
    workspace = Workspace(tmp_path, topologies["collapsed"], tmp_path / "state")
    steps = tuple(StepTime(URN.format(name), 0.0, 0.1) for name in step_names(workspace))
    note_times(workspace, RunTimes(steps, 2), "qemu", Parts(), ok=ok)
    assert workspace.times.exists()
    assert workspace.build.exists() is ok


def test_an_up_that_did_only_a_part_is_no_makespan(topologies: dict[str, Topology]) -> None:
    part = {"collapsed": up("2026-11-20", 10.0, 5, galera=10)}
    found = compare(topologies, [], dict.fromkeys(NAMES, 60), part)
    assert [cost.seconds for cost in found.costs] == [None, None]


def test_markdown_html_and_chart_hold_the_same_numbers(found: Comparison) -> None:
    text, page, chart = display.markdown(found), display.page(found), display.chart(found)
    for document in (text, page, chart):
        assert "40 s" in document
        assert "4.0 s" in document
    assert "999" not in text + page + chart, "a stack that is not compared"
    columns = {line.count("|") for line in text.split("![chart]")[0].splitlines() if line.startswith("|")}
    assert columns == {5}
    for document in (text, page):
        assert "Some CPU, 2 cores, 23.5 GiB, Linux 6.1, guests emulated (TCG)" in document
        assert "2026-11-21" in document
        assert "no quorum" in document
    assert chart == display.chart(found)


def test_the_chart_has_a_bar_for_each_measured_cell_within_its_width(found: Comparison) -> None:
    root = ET.fromstring(display.chart(found))
    _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
    space = "{http://www.w3.org/2000/svg}"
    bars = [one for one in root.iter(f"{space}rect") if one.get("height") == "9.0"]
    assert len(bars) == sum(bool(cell.runs) for row in found.rows if row.measure != "well" for cell in row.cells)
    for one in root.iter(f"{space}rect"):
        assert float(one.attrib["x"]) + float(one.attrib["width"]) <= width
        assert float(one.attrib["y"]) + float(one.attrib["height"]) <= height


def test_the_page_is_well_formed(found: Comparison) -> None:
    body = re.sub(r"<!doctype html>\n|<meta[^>]*>", "", display.page(found))
    ET.fromstring(body)


def test_without_a_run_the_screen_says_what_to_do(topologies: dict[str, Topology]) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(display.screen(compare(topologies, [], dict.fromkeys(NAMES, 60), {})))
    assert "no run yet: ./halab fault run NAME" in console.export_text()


def test_a_result_is_read_as_it_was_written_and_nothing_else_is(tmp_path: Path) -> None:
    from dataclasses import asdict

    from halab.workspace import write_json

    written = run("collapsed", "vip-owner-off", 12.0)
    folder = result.folder(tmp_path, "collapsed")
    write_json(folder / "20261121T150000Z-vip-owner-off.json", asdict(written))
    write_json(folder / "old.json", {"version": 0})
    (folder / "broken.json").write_text("{")
    (read,) = result.read_all(tmp_path, ["collapsed", "keepalived"])
    assert read.measured("ping") == 12.0
    assert read.met("ping")
    assert asdict(read)["probes"] == asdict(written)["probes"]


def test_an_outcome_names_the_goals_that_were_missed_and_why() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(display_fault.outcome(run("collapsed", "vip-owner-off", 40.5)))
    text = console.export_text()
    assert "goals not met: ping, api, token, database: guests are emulated on this host" in text
    assert "controller-1 ran anew after 31 s" in text
    assert "200 writes confirmed, 0 lost" in text
    assert "vip-owner-off: survived" in text
