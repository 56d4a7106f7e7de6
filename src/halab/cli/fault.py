"""halab fault"""

from __future__ import annotations

from typing import Annotated

import typer

from halab.cli import options

HELP = options.prose(
    """Break a cloud on purpose and measure, from outside, what its clients notice.

Four clients ask every half second: a ping of the database's VIP, a GET of keystone's API, a new token, a row written
and read. An outage lasts from the first question that failed to the first of three that were answered."""
)

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    epilog="Examples: ./halab fault list · ./halab fault run vip-owner-off · "
    "./halab fault run all-off --seed 7 --no-restore · docs: docs/faults.md",
)


@app.command("list")
def list_(stack: options.Stack = options.DEFAULT_STACK, as_json: options.Json = False) -> int:
    """The faults: what each does, what is to come of it, and its goals for this stack."""
    found = options.workspace(stack)
    from halab.actions.fault import show

    return show(found, as_json=as_json)


@app.command(
    "run", epilog="Exit code 1 when the cloud is not well again within the limit, or a confirmed write is lost."
)
def run(
    name: Annotated[str, typer.Argument(help="One of ./halab fault list.")],
    stack: options.Stack = options.DEFAULT_STACK,
    restore: Annotated[
        bool, typer.Option("--restore/--no-restore", help="Begin with ./halab snapshot restore.")
    ] = True,
    snapshot: Annotated[str, typer.Option("--from", metavar="NAME", help="The snapshot to restore.")] = "golden",
    seed: Annotated[int | None, typer.Option(help="What is left to chance (an order), repeated.")] = None,
    limit: Annotated[int, typer.Option(min=60, metavar="SECONDS", help="Until then all must be well again.")] = 1800,
    as_json: options.Json = False,
) -> int:
    """One fault, from a cloud that is well to a cloud that is well again; the result is kept for ./halab compare."""
    found = options.standing(stack)
    from halab.actions.fault import FaultOptions, run

    return run(found, name, FaultOptions(snapshot if restore else "", seed, limit, as_json))


@app.command(
    "watch",
    epilog="Example: ./halab fault watch -- ./halab replace controller-2 --yes",
    context_settings={"ignore_unknown_options": True},
)
def watch(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What is to be watched.")],
    stack: options.Stack = options.DEFAULT_STACK,
    limit: Annotated[int, typer.Option(min=60, metavar="SECONDS", help="Until then all must be well again.")] = 3600,
    as_json: options.Json = False,
) -> int:
    """What clients notice of any command: of a replacement, an up after an edit, one of your own."""
    from halab.actions.fault import FaultOptions, watch

    return watch(options.standing(stack), command, FaultOptions(limit=limit, json=as_json))
