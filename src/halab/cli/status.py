"""halab status"""

from __future__ import annotations

import typer

from halab.cli import options

HELP = options.prose(
    """One screen: how the cloud is now. Nodes, VIP owners, services, fence devices, gateway.

Asks every node at once, one cheap script each. For a proof rather than a look: ./halab verify."""
)

EPILOG = """Examples:

./halab status

watch --color -n 5 ./halab status

./halab status --json | jq '.nodes[] | select(.state != "running")'

Exit code 1 when a node is off, unreachable or not online in its cluster, or a service lacks a member."""


def register(app: typer.Typer) -> None:
    app.command("status", help=HELP, epilog=EPILOG)(status)


def status(stack: options.Stack = options.DEFAULT_STACK, as_json: options.Json = False) -> int:
    found = options.workspace(stack)
    from halab.actions.status import run

    return run(found, as_json=as_json)
