"""halab verify"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from halab.cli import options

HELP = options.prose(
    """The acceptance of a cloud: ask it whether everything works that should, and print the evidence.

Quorum and placement, Galera through the VIP and on each node, RabbitMQ queues on each node, tokens and images through
every backend, the gateway's ports, and no secret in the clear anywhere."""
)

EPILOG = """Examples:

./halab verify

./halab verify --junit results.xml      for CI

./halab verify --json

Exit code 1 when a check fails; the evidence says what was seen."""


def register(app: typer.Typer) -> None:
    app.command("verify", help=HELP, epilog=EPILOG)(verify)


def verify(
    stack: options.Stack = options.DEFAULT_STACK,
    junit: Annotated[Path | None, options.output("Write JUnit XML there.")] = None,
    as_json: options.Json = False,
) -> int:
    found = options.workspace(stack)
    from halab.actions.verify import run

    return run(found, junit=junit, as_json=as_json)
