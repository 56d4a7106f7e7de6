"""halab test"""

from __future__ import annotations

from typing import Annotated

import typer

from halab.cli import options

HELP = options.prose(
    """Run halab's own tests, tier by tier: lint, pure, recipe, program, engine, and the lab itself.

The lab tier is the real default stack: up, verify, a second up, a fault, verify, down; then one of the other
architectures, a different one each day (HALAB_TEST_VARIANT names another): up, verify, down. That one is left out, and
the reason printed, where less than 14 minutes of 58 are left. The lab tier needs the host that `up` needs; the tiers
before it need no VM."""
)

EPILOG = """Examples:

./halab test --fast             without the lab tier

./halab test                    all, as CI does

./halab test --tier recipe      one tier; may be repeated

./halab test --all-variants     every architecture: up, verify, a fault, verify, down

HALAB_TEST_VARIANT=keepalived ./halab test --tier lab

The last line counts the tests of all tiers; exit code 1 when one failed."""


def register(app: typer.Typer) -> None:
    app.command("test", help=HELP, epilog=EPILOG)(run_tests)


def run_tests(
    fast: Annotated[bool, typer.Option("--fast", help="Without the lab tier.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Install what the host lacks without asking.")] = False,
    all_variants: Annotated[
        bool, typer.Option("--all-variants", help="Only the lab, with every architecture: up, verify, a fault, down.")
    ] = False,
    tier: Annotated[list[str] | None, typer.Option(metavar="TIER", help="Only this tier.")] = None,
) -> int:
    found = options.workspace(options.DEFAULT_STACK)
    from halab.actions.test import run

    return run(found, fast=fast, yes=yes, only=tuple(tier or ()), all_variants=all_variants)
