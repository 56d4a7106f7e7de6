"""halab image"""

from __future__ import annotations

from typing import Annotated

import typer

from halab.cli import options

HELP = """The VM images: one per package set, built from images/ once per host and cached by content."""

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    epilog="Examples: ./halab image build · ./halab image list · ./halab image build controller --rebuild",
)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME...]", help="Images; all that the stack uses if none.")
]


@app.command("build", epilog="An image whose lists and scripts have not changed is not built again; --rebuild does.")
def build(
    names: Names = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Also those that are in the cache.")] = False,
    stack: options.Stack = options.DEFAULT_STACK,
) -> int:
    """Build what is missing, with a progress bar."""
    found = options.workspace(stack)
    from halab.actions.image import build as run

    return run(found, tuple(names or ()), rebuild=rebuild)


@app.command("list")
def list_(stack: options.Stack = options.DEFAULT_STACK, as_json: options.Json = False) -> int:
    """The images the stack uses: key, path, size, whether built."""
    found = options.workspace(stack)
    from halab.actions.image import show

    return show(found, as_json=as_json)
