"""halab up"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from halab.cli import options

HELP = options.prose(
    """Bring a stack up, or bring it to what its file says now, and verify it.

Checks the host (and offers to install what it lacks), builds the images if they are missing (once per host), starts
the hypervisor, runs the program,
proves every fence device once, and asks the cloud itself whether it works. Interrupted or failed: run it again, it
goes on where it stopped. Run again when all is well, it changes nothing.

Where an edit of the stack file would rebuild or remove more members at once than a quorum survives, it refuses, and
names the command that does one after the other (./halab replace)."""
)

EPILOG = """Examples:

./halab up                                    the default stack, collapsed

./halab up --no-verify --no-fence-proof       only build

./halab up --until pacemaker.ready            no further than a step (see ./halab graph --kind steps)

./halab up --json > up.json                   the result and every step's time, for a program

./halab graph --kind times --format svg > up.svg     afterwards: where the time went, as a picture

Ctrl-C once lets running steps finish and stops; twice kills. Logs: ./halab logs."""


def register(app: typer.Typer) -> None:
    app.command("up", help=HELP, epilog=EPILOG)(up)


def up(
    stack: options.Stack = options.DEFAULT_STACK,
    engine: Annotated[
        Literal["auto", "cli", "embedded"],
        typer.Option(
            help="The Pulumi CLI, halab's own engine, or the CLI where it is installed at the pinned versions."
        ),
    ] = "auto",
    until: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="Only this step and what it needs; may be repeated.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Ask the cloud whether it works.")] = True,
    fence_proof: Annotated[
        bool, typer.Option("--fence-proof/--no-fence-proof", help="Fire each fence device once, the first time.")
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Install what the host lacks without asking.")] = False,
    checks: Annotated[bool, typer.Option("--doctor/--no-doctor", help="Check the host first.")] = True,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="First look at what is really there, and mend what differs.")
    ] = False,
    every_step: Annotated[
        bool, typer.Option("--all-times", help="The table shows every step, not the slowest.")
    ] = False,
    parallel: Annotated[
        int, typer.Option(min=1, metavar="N", help="Operations at once; 1 does the steps one after another.")
    ] = 64,
    overcommit: Annotated[
        bool, typer.Option("--overcommit", help="Also where memory or disk of all stacks together are short.")
    ] = False,
    at_once: Annotated[
        bool,
        typer.Option("--at-once", help="Also where more nodes are rebuilt or go at once than a quorum survives."),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--golden/--no-golden", help="Keep the verified cloud, for later ups to bring it back.")
    ] = True,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Build it also where a golden cloud could be brought back.")
    ] = False,
    verbose: options.Verbose = False,
    as_json: options.Json = False,
) -> int:
    found = options.workspace(stack)
    from halab.actions.up import UpOptions, run

    return run(
        found,
        UpOptions(
            engine=engine,
            until=tuple(until or ()),
            verify=verify,
            fence_proof=fence_proof,
            doctor=checks,
            yes=yes,
            refresh=refresh,
            every_step=every_step,
            verbose=verbose,
            json=as_json,
            parallel=parallel,
            overcommit=overcommit,
            at_once=at_once,
            golden=keep,
            fresh=fresh,
        ),
    )
