"""halab graph"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from halab.cli import options

HELP = options.prose(
    """Draw a stack: its topology, its steps and what each waits for, what binds its Pacemaker resources, or where the
time of its last up went.

The same input gives the same bytes, so that two drawings can be compared."""
)

EPILOG = """Examples:

./halab graph                                          networks, nodes, clusters, VIPs as text

./halab graph --format svg > topology.svg

./halab graph --kind steps --format svg > steps.svg

./halab graph --kind steps --stack segregated          waves and the critical path

./halab graph --constraints                            resources, orders, colocations, locations, fencing

./halab graph --kind times --format svg > up.svg       the last up: stages, steps, critical path, VM boots

Pictures, but for that of times, need Graphviz's dot (./halab doctor)."""


def register(app: typer.Typer) -> None:
    app.command("graph", help=HELP, epilog=EPILOG)(graph)


def graph(
    kind: Annotated[
        Literal["topology", "steps", "constraints", "times"], typer.Option(help="What to draw.")
    ] = "topology",
    constraints: Annotated[bool, typer.Option("--constraints", help="Short for --kind constraints.")] = False,
    format_: Annotated[Literal["text", "dot", "svg"], typer.Option("--format", help="How.")] = "text",
    stack: options.Stack = options.DEFAULT_STACK,
) -> int:
    found = options.workspace(stack)
    from halab.actions.graph import run

    return run(found, "constraints" if constraints else kind, format_)
