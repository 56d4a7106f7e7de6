"""The architectures beside one another: what the same faults did to each, and what each costs to bring up. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from components.topology import Topology
from halab.fault.faults import FAULTS
from halab.fault.result import Result

#: Seconds by which a stage must be longer or shorter on the critical path to be named as a reason.
_NOTABLE = 5.0
#: What a row is about, in the order of rows within a fault: the probes, then the cluster.
MEASURES = ("ping", "api", "token", "database", "well")


@dataclass(frozen=True, slots=True)
class Cell:
    """`seconds`: the worst of `runs` that were carried out, None without any, or where the cloud did not come back.

    `goal` is None where nobody set one; `note`: why there is nothing to measure, or what went wrong.
    """

    seconds: float | None
    runs: int
    goal: float | None
    note: str = ""

    @property
    def missed(self) -> bool:
        return self.runs > 0 and self.goal is not None and (self.seconds is None or self.seconds > self.goal)


@dataclass(frozen=True, slots=True)
class Row:
    """A fault as one measure saw it; a cell for each stack."""

    fault: str
    measure: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stack takes: `seconds` of its last whole up, its critical path, CPU seconds of its VMs; None where no up
    is on record.

    `built`: the day of that up, on `machine`, "" where that is not known. `chain`: the critical path by stage, seconds.
    """

    vms: int
    memory: int
    steps: int
    seconds: float | None = None
    critical: float | None = None
    efficiency: float | None = None
    cpu: float | None = None
    built: str = ""
    machine: str = ""
    chain: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """`runs`: the results it is made of, oldest first."""

    stacks: tuple[str, ...]
    rows: tuple[Row, ...]
    costs: tuple[Cost, ...]
    runs: tuple[Result, ...]

    @property
    def failed(self) -> tuple[Result, ...]:
        return tuple(result for result in self.runs if not result.ok)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The faults that no stack has gone through."""
        run = {row.fault for row in self.rows if any(cell.runs for cell in row.cells)}
        return tuple(dict.fromkeys(row.fault for row in self.rows if row.fault not in run))


def compare(
    topologies: Mapping[str, Topology],
    results: Sequence[Result],
    steps: Mapping[str, int],
    times: Mapping[str, Mapping[str, Any]],
) -> Comparison:
    """`steps`: how many each stack has; `times`: the last whole up's, as RunTimes.as_json gives them, with `began`,
    `host` and `accelerator` as results have them where these are known. Both by stack.
    """
    mine = tuple(result for result in results if result.stack in topologies)
    return Comparison(
        stacks=tuple(topologies),
        rows=tuple(_rows(topologies, mine)),
        costs=tuple(_cost(topology, steps[name], times.get(name)) for name, topology in topologies.items()),
        runs=mine,
    )


def _rows(topologies: Mapping[str, Topology], results: Iterable[Result]) -> Iterable[Row]:
    by_run: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        by_run.setdefault((result.fault, result.stack), []).append(result)
    for fault in FAULTS:
        goals = [fault.goals(topology) for topology in topologies.values()]
        for measure in MEASURES:
            if measure != "well" and not any(measure in goal for goal in goals):
                continue
            cells = (
                _cell(measure, by_run.get((fault.name, name), []), goal.get(measure), fault.lacking(topology))
                for (name, topology), goal in zip(topologies.items(), goals, strict=True)
            )
            yield Row(fault.name, measure, tuple(cells))


def _cell(measure: str, runs: Sequence[Result], goal: float | None, lacking: str) -> Cell:
    if lacking:
        return Cell(None, 0, None, lacking)
    if not runs:
        return Cell(None, 0, goal, "not run")
    measured = [run.measured(measure) for run in runs]
    bad = next((run.problem for run in runs if not run.ok), "")
    known = [seconds for seconds in measured if seconds is not None]
    return Cell(max(known) if len(known) == len(runs) else None, len(runs), goal, bad)


def _cost(topology: Topology, steps: int, times: Mapping[str, Any] | None) -> Cost:
    cost = Cost(vms=len(topology.nodes), memory=topology.memory, steps=steps)
    if not times or len(times["steps"]) < steps:
        return cost  # never brought up, or an up that only did a part
    chain: dict[str, float] = {}
    for step in times["critical_path"]:
        stage = re.split(r"[.@ ]", step["step"])[0]
        chain[stage] = chain.get(stage, 0.0) + step["seconds"]
    return replace(
        cost,
        seconds=times["makespan"],
        critical=times["critical"],
        efficiency=times["efficiency"],
        cpu=(times["cpu"] or {}).get("vms"),
        built=times.get("began", "")[:10],
        machine=machine(times["host"], times["accelerator"]) if "host" in times else "",
        chain=chain,
    )


def baseline(comparison: Comparison) -> tuple[str, Cost]:
    """The stack that the others are held against: `collapsed`, else the first; and its cost."""
    index = comparison.stacks.index("collapsed") if "collapsed" in comparison.stacks else 0
    return comparison.stacks[index], comparison.costs[index]


def reason(cost: Cost, base: Cost) -> str:
    """Why an up takes longer or shorter than that of another stack: what it has more or less of."""
    if cost.seconds is None or base.seconds is None or cost is base:
        return ""
    found = [
        f"{now - before:+d} {what}"
        for what, now, before in (
            ("VMs", cost.vms, base.vms),
            ("steps", cost.steps, base.steps),
            ("MiB", cost.memory, base.memory),
        )
        if now != before
    ]
    if cost.critical is not None and base.critical is not None:
        longer = {
            stage: cost.chain.get(stage, 0.0) - base.chain.get(stage, 0.0) for stage in {*cost.chain, *base.chain}
        }
        named = sorted((one for one in longer.items() if abs(one[1]) >= _NOTABLE), key=lambda one: -abs(one[1]))[:3]
        where = f" ({', '.join(f'{stage} {seconds:+.0f} s' for stage, seconds in named)})" if named else ""
        found.append(f"{cost.critical - base.critical:+.0f} s critical path{where}")
    if cost.cpu is not None and base.cpu is not None:
        found.append(f"{cost.cpu - base.cpu:+.0f} CPU s in guests")
    if cost.machine != base.machine and cost.machine and base.machine:
        found.append("on another machine")
    return f"{cost.seconds - base.seconds:+.0f} s: " + ", ".join(found)


def machine(host: Mapping[str, Any], accelerator: str) -> str:
    """A machine in one line, from what a result or an up notes of it."""
    return f"{host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, Linux {host['kernel']}, " + (
        "guests emulated (TCG)" if accelerator == "qemu" else "KVM"
    )


def machines(comparison: Comparison) -> tuple[str, ...]:
    """The machines that runs and ups are from, a line each."""
    lines = [machine(result.host, result.accelerator) for result in comparison.runs]
    return tuple(dict.fromkeys((*lines, *(cost.machine for cost in comparison.costs if cost.machine))))


def dates(results: Sequence[Result]) -> str:
    """The first and the last day of the runs."""
    days = sorted(result.began[:10] for result in results)
    return "" if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def mixed(comparison: Comparison) -> tuple[str, ...]:
    """What of a stack does not belong together, a line each: several days, states of halab, clouds, machines."""
    found: list[str] = []
    for stack, cost in zip(comparison.stacks, comparison.costs, strict=True):
        mine = [result for result in comparison.runs if result.stack == stack]
        days = Counter(result.began[:10] for result in mine)
        parts = []
        if len({*days, *([cost.built] if cost.built else [])}) > 1:
            runs = ", ".join(f"{count} of {day}" for day, count in sorted(days.items()))
            built = f"; built {cost.built}" if cost.built else ""
            parts.append(f"runs {runs}{built}")
        for what, values in (
            ("states of halab", {result.versions.get("halab", "") for result in mine}),
            ("different clouds", {result.key for result in mine}),
            ("machines", {machine(result.host, result.accelerator) for result in mine} | {cost.machine} - {""}),
        ):
            if len(values) > 1:
                parts.append(f"{len(values)} {what}")
        if parts:
            found.append(f"mixed for {stack}: {', '.join(parts)}")
    return tuple(found)
