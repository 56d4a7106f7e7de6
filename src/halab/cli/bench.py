"""halab bench"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from halab.cli import options

HELP = options.prose(
    """Take figures on this host, each beside a baseline of the same run: how long a preview, the drawings, a cold up,
a restore, a fork and the cluster stage take.

WHAT is any of preview, graph, cluster, up, restore, fork; preview and graph if none. Those that need VMs build a stack
of the bench's own, bench-STACK, with its own state, and take it down again: your stacks are left alone, and a host
without the memory for it beside them is refused."""
)

EPILOG = """Examples:

./halab bench                                 preview and graph: seconds

./halab bench up                              cold up beside the same steps one after another: half an hour and more

./halab bench up --baseline computed          without that second run; the sum it prints is no measurement

./halab bench restore fork                    beside the cold up they save

./halab bench cluster                         halab's cluster stage beside pcs commands, on three small VMs

./halab bench preview --repeat 20 --json | jq '.results[].figure.median'

Every bench is kept as JSON below $HALAB_STATE/bench. What the figures mean: docs/bench.md."""


def register(app: typer.Typer) -> None:
    app.command("bench", help=HELP, epilog=EPILOG)(bench)


def bench(
    what: Annotated[list[str] | None, typer.Argument(metavar="[WHAT...]")] = None,
    repeat: Annotated[
        int | None, typer.Option(min=1, max=1000, metavar="N", help="How often each is taken; the median counts.")
    ] = None,
    baseline: Annotated[
        Literal["serial", "computed"],
        typer.Option(help="What `up` is compared with: a real run of one step after another, or a mere sum."),
    ] = "serial",
    stack: options.Stack = options.DEFAULT_STACK,
    as_json: options.Json = False,
) -> int:
    found = options.workspace(stack)
    from halab.actions.bench import run

    return run(found, tuple(what or ()), repeat, baseline, as_json=as_json)
