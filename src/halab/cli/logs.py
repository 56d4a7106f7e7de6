"""halab logs"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from halab.cli import options

HELP = options.prose(
    """Logs: of the last run on this host, of a node, or everything as one file for a bug report (secrets masked)."""
)

EPILOG = """Examples:

./halab logs                                the last run, and where earlier ones are

./halab logs controller-1                   its step logs and the end of its journal

./halab logs --bundle halab-logs.tar.gz     runs, nodes, consoles and hypervisor; no secret in it"""


def register(app: typer.Typer) -> None:
    app.command("logs", help=HELP, epilog=EPILOG)(logs)


def logs(
    node: Annotated[str | None, typer.Argument(help="A node's name.")] = None,
    bundle: Annotated[Path | None, options.output("Write a .tar.gz of everything there.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines of each log.")] = 100,
    stack: options.Stack = options.DEFAULT_STACK,
) -> int:
    found = options.workspace(stack)
    from halab.actions.logs import run

    return run(found, node, bundle, lines)
