"""halab compare"""

from __future__ import annotations

from typing import Annotated

import typer

from halab.cli import options

HELP = options.prose(
    """Put the five architectures side by side: what each fault did to each, beside the goals, and what each takes to
come up.

Shows what was measured so far (./halab fault run keeps every result); --run measures everything, unattended, one
architecture after the other: up, every fault from a restored cloud, down."""
)

EPILOG = """Examples:

./halab compare

./halab compare --run --write             hours; then docs/comparison.md, .html and .svg

./halab compare --run --stack collapsed --stack keepalived --fault vip-owner-off

Exit code 1 when a stack did not come up, or not back after a fault; a goal that was missed is only told."""


def register(app: typer.Typer) -> None:
    app.command("compare", help=HELP, epilog=EPILOG)(compare)


def compare(
    stack: Annotated[
        list[str] | None, typer.Option("--stack", "-s", metavar="NAME", help="Stacks; the five architectures if none.")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="With --run: only this one; may be repeated.")
    ] = None,
    carry_out: Annotated[bool, typer.Option("--run", help="Carry out every fault first.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write docs/comparison.md, .html and .svg.")] = False,
    as_json: options.Json = False,
) -> int:
    from components.variant import Variant
    from halab.actions.compare import run

    workspaces = [options.workspace(name) for name in stack or Variant]
    return run(workspaces, fault or [], carry_out=carry_out, write=write, as_json=as_json)
