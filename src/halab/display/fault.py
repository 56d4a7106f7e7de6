"""Faults as tables: those there are, and what one of them did."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from components.topology import Topology
from halab.display.model import table
from halab.display.text import duration
from halab.fault.faults import FAULTS
from halab.fault.result import Result


def listing(topology: Topology) -> RenderableType:
    """Every fault, what it does, what is to come of it, and its goals for this topology."""
    found = table("fault", "does", "expects", "goals")
    for fault in FAULTS:
        lacking = fault.lacking(topology)
        goals = ", ".join(f"{name} ≤ {seconds:.0f} s" for name, seconds in fault.goals(topology).items())
        found.add_row(
            fault.name, fault.does, fault.expects, Text(f"not here: {lacking}", style="yellow") if lacking else goals
        )
    return found


def outcome(result: Result) -> RenderableType:
    """One run: per probe its outage beside the goal, and when the cluster was itself again."""
    probes = table(
        "probe", "outage", "goal", "failures", "asked", "median before", "during", "worst",
        right=("outage", "goal", "failures", "asked", "median before", "during", "worst"),
    )  # fmt: skip
    for name, one in result.probes.items():
        goal = result.goals.get(name)
        seconds = Text(duration(one["outage"]), style="" if goal is None else "green" if result.met(name) else "red")
        probes.add_row(
            name,
            seconds,
            "" if goal is None else f"≤ {goal:.0f} s",
            str(one["failures"]),
            str(one["asked"]),
            _milliseconds(one["before"]["median"]),
            _milliseconds(one["during"]["median"]),
            _milliseconds(one["during"]["worst"]),
        )
    lines = [f"hit: {', '.join(result.victims)}"] if result.victims else []
    lines += [f"{node} ran anew after {duration(seconds)}" for node, seconds in result.fenced.items()]
    if result.well is not None:
        goal = result.goals.get("well")
        lines.append(f"the cluster was well after {duration(result.well)}" + (f" (goal {goal:.0f} s)" if goal else ""))
    lines.append(f"{result.acknowledged} writes confirmed, {result.lost} lost")
    lines += [f"by hand: {one}" for one in result.hands]
    missed = [name for name in result.goals if not result.met(name)]
    if missed:
        why = ": guests are emulated on this host" if result.accelerator == "qemu" else ""
        lines.append(f"goals not met: {', '.join(missed)}{why}")
    verdict = Text(
        f"{result.fault}: survived" if result.ok else f"{result.fault}: {result.problem}",
        style="bold green" if result.ok else "bold red",
    )
    return Group(probes, "", *(Text(line) for line in lines), verdict)


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.0f} ms"
