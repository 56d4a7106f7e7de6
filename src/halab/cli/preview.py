"""halab preview"""

from __future__ import annotations

from typing import Annotated

import typer

from halab.cli import options

HELP = options.prose(
    """Show what a stack is and what `up` would do: its VMs, its steps as waves, and the changes property by property.

Needs no hypervisor and touches nothing; works for all five variants."""
)

EPILOG = """Examples:

./halab preview

./halab preview --stack keepalived

./halab preview --model                 only VMs and steps, without asking the engine what would change

./halab preview --json | jq .changes

After an edit of a stack file or a recipe, the last part shows which steps would run again, and the Pacemaker
configuration (CIB) as a text diff."""


def register(app: typer.Typer) -> None:
    app.command("preview", help=HELP, epilog=EPILOG)(preview)


def preview(
    stack: options.Stack = options.DEFAULT_STACK,
    model: Annotated[bool, typer.Option("--model", help="Only VMs and steps.")] = False,
    as_json: options.Json = False,
) -> int:
    found = options.workspace(stack)
    from halab.actions.preview import run

    return run(found, model_only=model, as_json=as_json)
