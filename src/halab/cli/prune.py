"""halab prune"""

from __future__ import annotations

from typing import Annotated

import typer

from halab.cli import options

HELP = options.prose(
    """Propose the stacks that came up longer ago than --older-than, and take them down.

Asks first; without a terminal it only shows them, unless --yes. Each goes as with ./halab down. Its file stays, so that
`up` builds it again; --files deletes developers' files too, also those of stacks that are down and were not touched for
as long."""
)

EPILOG = """Examples:

./halab prune                               what is older than a week

./halab prune --older-than 12h --yes

./halab prune --older-than 30d --files

./halab prune --json | jq .chosen"""


def register(app: typer.Typer) -> None:
    app.command("prune", help=HELP, epilog=EPILOG)(prune)


def prune(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="90m, 12h, 7d, 2w.")] = "7d",
    files: Annotated[bool, typer.Option("--files", help="Delete developers' stack files too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Without asking.")] = False,
    as_json: options.Json = False,
) -> int:
    from halab.actions.prune import run

    return run(options.project(), older_than, files=files, yes=yes, as_json=as_json)
