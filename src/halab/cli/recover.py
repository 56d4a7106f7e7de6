"""halab recover"""

from __future__ import annotations

from typing import Annotated

import typer

from halab.cli import options

HELP = options.prose(
    """Bring database and queue back after all their members stopped, where no Pacemaker does it.

Asks every member how far its data goes (Galera: grastate.dat, or what MariaDB finds in its files; RabbitMQ: who still
ran when it stopped), starts the one that has everything, lets the others follow, and says why it chose as it did.

Where the members alone cannot tell (different histories, several that claim to have been the last, one that cannot be
asked), nothing is done until you say whose data to trust; what the others have beyond it is named, and lost."""
)

EPILOG = """Examples:

./halab recover --stack keepalived --dry-run     what is seen, what would be done, and why

./halab recover --stack keepalived

./halab recover --stack keepalived --trust controller-2

Changes nothing where all members are up. Exit code 1 when a member did not come, or nothing could be decided."""


def register(app: typer.Typer) -> None:
    app.command("recover", help=HELP, epilog=EPILOG)(recover)


def recover(
    stack: options.Stack = options.DEFAULT_STACK,
    trust: Annotated[
        str, typer.Option(metavar="NODE", help="Whose data counts where the members disagree; the others' is lost.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is seen and decided; change nothing.")] = False,
    as_json: options.Json = False,
) -> int:
    found = options.standing(stack)
    from halab.actions.recover import run

    return run(found, trust=trust, dry_run=dry_run, as_json=as_json)
