"""halab fork"""

from __future__ import annotations

from typing import Annotated

import typer

from halab.cli import options

HELP = options.prose(
    """Have the same cloud a second time, beside the first: its golden cloud, or a snapshot, as a stack of its own.

Both live, and what happens to one does not happen to the other. Names and addresses inside are the same, which is why
the second one is always under the embedded hypervisor, in a network of its own."""
)

EPILOG = """Examples:

./halab fork collapsed mine                      the golden cloud of collapsed as stack mine

./halab fork collapsed mine --snapshot before    the same from a snapshot

./halab down --stack mine                        it goes, collapsed stays

It writes stacks/Pulumi.mine.yaml; a stack with addresses of its own is made by ./halab new."""


def register(app: typer.Typer) -> None:
    app.command("fork", help=HELP, epilog=EPILOG)(fork)


def fork(
    origin: Annotated[str, typer.Argument(metavar="STACK", help="The stack whose cloud is to be had twice.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the second stack is called.")],
    snapshot: Annotated[
        str | None, typer.Option(metavar="NAME", help="A snapshot of STACK instead of its golden cloud.")
    ] = None,
    overcommit: Annotated[
        bool, typer.Option("--overcommit", help="Also where memory or disk of all stacks together are short.")
    ] = False,
    as_json: options.Json = False,
) -> int:
    from halab.actions.fork import run

    return run(options.project(), origin, name, snapshot, overcommit=overcommit, as_json=as_json)
