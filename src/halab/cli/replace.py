"""halab replace"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from halab.cli import options

HELP = options.prose(
    """Replace a node by a new VM of the same name and address, while the cloud works on; several one after the other.

The node stands by until nothing runs on it, leaves every cluster it is a member of, goes; a new VM with an empty disk
comes, joins again, and is waited for until it is in sync. Says first which members, votes and VIPs that touches, and
refuses where a quorum would be lost. A changed size of a role (memory, vcpus, disk) is taken over: with all of them
named, a role is brought to its new size, each node when the one before is in sync."""
)

EPILOG = """Examples:

./halab replace controller-2

./halab replace compute-1 --yes --no-verify

./halab replace controller-1 controller-2 controller-3 --yes

Exit code 2 when the cloud could not bear it now; nothing was done then. Interrupted or failed: ./halab up goes on."""


def register(app: typer.Typer) -> None:
    app.command("replace", help=HELP, epilog=EPILOG)(replace)


def replace(
    node: Annotated[list[str], typer.Argument(metavar="NODE", help="Names of nodes (./halab status lists them).")],
    stack: options.Stack = options.DEFAULT_STACK,
    engine: Annotated[Literal["auto", "cli", "embedded"], typer.Option(help="As for up.")] = "auto",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Ask the cloud afterwards.")] = True,
    as_json: options.Json = False,
) -> int:
    found = options.workspace(stack)
    from halab.actions import replace as action

    if len(node) > 1:
        return action.each(found, node, engine=engine, yes=yes, verify=verify, as_json=as_json)
    return action.run(found, node[0], engine=engine, yes=yes, verify=verify, as_json=as_json)
