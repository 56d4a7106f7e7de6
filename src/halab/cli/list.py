"""halab list"""

from __future__ import annotations

import typer

from halab.cli import options

HELP = options.prose(
    """Every stack on this host: state, owner, age, VMs, memory, disk, hypervisor.

States: verified, up, busy (a command is changing it), stopped (none of its VMs runs), interrupted (an up or a down did
not end), down. A stack whose file is gone is listed too, and those of other users' state folders that run something."""
)

EPILOG = """Examples:

./halab list

./halab list --json | jq -r '.stacks[] | select(.condition != "down") | .name'

RAM is what its processes have now; the last line says what all VMs may take together."""


def register(app: typer.Typer) -> None:
    app.command("list", help=HELP, epilog=EPILOG)(list_)


def list_(as_json: options.Json = False) -> int:
    from halab.actions.listing import run

    return run(options.project(), as_json=as_json)
