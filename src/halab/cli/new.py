"""halab new"""

from __future__ import annotations

from typing import Annotated

import typer

from components.variant import Variant
from halab.cli import options

HELP = options.prose(
    """Write the file of a stack of your own: stacks/Pulumi.NAME.yaml, from a variant's, its comments kept.

The name gives it its own addresses, bridges, VRIDs, keys and passwords. Where its networks would meet those of another
stack, of this host's routes or of libvirt, the next free ones are written into the file. A file that is there is never
overwritten."""
)

EPILOG = """Examples:

./halab new mine

./halab new mine --variant keepalived

./halab new small --set roles.controller.memory=2560 --set roles.compute.count=2

Git ignores developers' stack files; `git add -f` keeps one."""


def register(app: typer.Typer) -> None:
    app.command("new", help=HELP, epilog=EPILOG)(new)


def new(
    name: Annotated[str, typer.Argument(help="The stack's name: a-z, 0-9 and -.")],
    variant: Annotated[Variant, typer.Option(help="The architecture to start from.")] = Variant.COLLAPSED,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another value for a key; may be repeated.")
    ] = None,
) -> int:
    from halab.actions.new import run

    return run(options.project(), name, variant, tuple(settings or ()))
