"""halab ssh"""

from __future__ import annotations

from typing import Annotated

import typer

from halab.cli import options

HELP = options.prose(
    """A root shell on a node, or one command there. Host keys are verified; no key of yours is needed."""
)

EPILOG = """Examples:

./halab ssh                                   the first controller

./halab ssh controller-2

./halab ssh controller-2 -- crm_mon -1

./halab ssh --stack mine gateway-1

The exit code is that of the command."""


def register(app: typer.Typer) -> None:
    app.command("ssh", help=HELP, epilog=EPILOG)(ssh)


def ssh(
    node: Annotated[str | None, typer.Argument(help="A node's name (./halab status lists them).")] = None,
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND...]")] = None,
    stack: options.Stack = options.DEFAULT_STACK,
) -> int:
    found = options.workspace(stack)
    from halab.actions.ssh import run

    return run(found, node, tuple(command or ()))
