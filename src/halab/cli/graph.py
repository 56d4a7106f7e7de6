"""halab graph"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from halab.cli import options

HELP = options.prose("""Draw a stack: its topology, or its steps and what each waits for.""")

EPILOG = """Examples:

./halab graph                                          networks, nodes, clusters, VIPs as text

./halab graph --format svg > topology.svg

./halab graph --kind steps --format svg > steps.svg

./halab graph --kind steps --stack segregated          waves and the critical path

Pictures need Graphviz's dot (./halab doctor)."""


def register(app: typer.Typer) -> None:
    app.command("graph", help=HELP, epilog=EPILOG)(graph)


def graph(
    kind: Annotated[Literal["topology", "steps"], typer.Option(help="What to draw.")] = "topology",
    format_: Annotated[Literal["text", "dot", "svg"], typer.Option("--format", help="How.")] = "text",
    stack: options.Stack = options.DEFAULT_STACK,
) -> int:
    from halab.actions.graph import run

    return run(options.workspace(stack), kind, format_)
