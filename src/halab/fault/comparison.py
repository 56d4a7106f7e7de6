"""The architectures beside one another: what the same faults did to each, and what each costs to bring up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.topology import Topology
from halab.fault.faults import FAULTS
from halab.fault.result import Result

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
    """What a stack takes: `seconds` of its last up's steps, their critical path, CPU seconds of its VMs; None where no
    up is on record."""

    vms: int
    memory: int
    steps: int
    seconds: float | None
    critical: float | None
    efficiency: float | None
    cpu: float | None


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


def compare(
    topologies: Mapping[str, Topology],
    results: Sequence[Result],
    steps: Mapping[str, int],
    times: Mapping[str, Mapping[str, Any]],
) -> Comparison:
    """`steps`: how many each stack has; `times`: the last up's, as RunTimes.as_json gives them. Both by stack."""
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
    if times and len(times["steps"]) < steps:
        times = None  # an up that only did a part
    cpu = (times or {}).get("cpu") or {}
    return Cost(
        vms=len(topology.nodes),
        memory=topology.memory,
        steps=steps,
        seconds=times["makespan"] if times else None,
        critical=times["critical"] if times else None,
        efficiency=times["efficiency"] if times else None,
        cpu=cpu.get("vms"),
    )


def reason(cost: Cost, base: Cost) -> str:
    """Why an up takes longer or shorter than that of the first stack: what it has more or less of."""
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
        found.append(f"{cost.critical - base.critical:+.0f} s critical path")
    if cost.cpu is not None and base.cpu is not None:
        found.append(f"{cost.cpu - base.cpu:+.0f} CPU s in guests")
    return f"{cost.seconds - base.seconds:+.0f} s: " + ", ".join(found)


def machines(results: Iterable[Result]) -> tuple[str, ...]:
    """The machines that the results are from, a line each."""
    found = dict.fromkeys(
        f"{host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, Linux {host['kernel']}, "
        + ("guests emulated (TCG)" if result.accelerator == "qemu" else "KVM")
        for result in results
        for host in [result.host]
    )
    return tuple(found)


def dates(results: Sequence[Result]) -> str:
    """The first and the last day of the runs."""
    days = sorted(result.began[:10] for result in results)
    return "" if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
