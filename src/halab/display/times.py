"""The table at the end of `up`."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from halab.display.text import counted, duration
from halab.timing import RunTimes

_SLOWEST = 15


def times(run: RunTimes, *, every_step: bool = False) -> RenderableType:
    """Time per stage and step, the critical path, and how close the run came to the best order there is."""
    stages = Table(box=None, pad_edge=False, header_style="bold")
    stages.add_column("stage")
    for name in ("steps", "from", "to", "busy"):
        stages.add_column(name, justify="right")
    for stage in run.stages:
        stages.add_row(stage.name, str(stage.steps), duration(stage.start), duration(stage.end), duration(stage.busy))
    critical = {step.urn for step in run.critical_path}
    ranked = sorted(run.steps, key=lambda step: -step.seconds)
    chosen = ranked if every_step else ranked[:_SLOWEST]
    steps = Table(box=None, pad_edge=False, header_style="bold")
    steps.add_column("step" if every_step else "slowest steps")
    steps.add_column("from", justify="right")
    steps.add_column("seconds", justify="right")
    steps.add_column("")
    for step in chosen:
        mark = "critical" if step.urn in critical else ""
        steps.add_row(step.label, duration(step.start), f"{step.seconds:.1f}", mark if step.ok else "failed")
    chain = " → ".join(f"{step.label} {step.seconds:.0f}" for step in run.critical_path)
    return Group(
        stages,
        "",
        steps,
        "",
        Text(f"critical path {duration(run.critical)}: {chain}"),
        Text(
            f"all {counted(len(run.steps), 'step')} {duration(run.total)} ÷ {counted(run.cores, 'core')} = "
            f"{duration(run.per_core)}; run {duration(run.makespan)}; "
            f"efficiency max({duration(run.critical)}, {duration(run.per_core)}) ÷ {duration(run.makespan)} = "
            f"{run.efficiency:.2f}"
        ),
    )
