"""halab down"""

from __future__ import annotations

import typer

from halab.cli import options

HELP = options.prose(
    """Take a stack down and prove that nothing of it is left on this host.

Works on a stack that is up, half up, already down, or whose state is lost. Images stay, and so do the logs and step
times of runs."""
)

EPILOG = """Examples:

./halab down

./halab down --stack mine --json

The last lines name what was looked for: domains, volumes, pools, networks, bridges, namespaces, mounts, leases,
processes, keys. Anything left is listed and the exit code is 1."""


def register(app: typer.Typer) -> None:
    app.command("down", help=HELP, epilog=EPILOG)(down)


def down(
    stack: options.Stack = options.DEFAULT_STACK,
    verbose: options.Verbose = False,
    as_json: options.Json = False,
) -> int:
    found = options.standing(stack)
    from halab.actions.down import run

    return run(found, verbose=verbose, as_json=as_json)
