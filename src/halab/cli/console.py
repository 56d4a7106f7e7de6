"""halab console"""

from __future__ import annotations

from typing import Annotated

import typer

from halab.cli import options

HELP = options.prose(
    """A node's serial console: a root shell where the network does not help, or what the console has said so far.

Enter gives a prompt; Ctrl-] leaves."""
)

EPILOG = """Examples:

./halab console controller-1

./halab console controller-1 --force        also when somebody else is attached, who is put off

./halab console controller-1 --log          what it said, kernel messages first of all; works on a dead VM too"""


def register(app: typer.Typer) -> None:
    app.command("console", help=HELP, epilog=EPILOG)(console)


def console(
    node: Annotated[str, typer.Argument(help="A node's name (./halab status lists them).")],
    log: Annotated[bool, typer.Option("--log", help="Print the console's log instead.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines of the log.")] = 200,
    force: Annotated[bool, typer.Option("--force", help="Take the console from whoever has it.")] = False,
    stack: options.Stack = options.DEFAULT_STACK,
) -> int:
    found = options.workspace(stack)
    from halab.actions.console import run

    return run(found, node, log=log, lines=lines, force=force)
