"""The table at the end of `up`."""

from __future__ import annotations

from collections.abc import Iterator

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
        *(Text(line) for line in _efficiency(run)),
    )


def _efficiency(run: RunTimes) -> Iterator[str]:
    known = run.cpu is not None and run.busy is not None
    if run.cpu is not None and run.busy is not None:
        yield (
            f"CPU of the VMs {duration(run.cpu.vms)} and of halab {duration(run.cpu.own)} ÷ "
            f"{counted(run.cores, 'core')} = {duration(run.cpu.total / run.cores)}"
        )
    else:
        yield "CPU unknown: the VMs are not on this host, or libvirt did not say; only the critical path counts"
    yield (
        f"{counted(len(run.steps), 'step')} of {duration(run.total)} in all, in {duration(run.makespan)}; "
        f"efficiency max(critical path {run.chained:.2f}, cores {f'{run.busy:.2f}' if known else '?'}) of the run = "
        f"{run.efficiency:.2f}"
    )
