"""halab doctor"""

from __future__ import annotations

from typing import Annotated

import typer

from halab.cli import options

HELP = options.prose(
    """Check this host: programs, hypervisor, KVM, memory, disk; say how to mend each thing.

With --install, on Debian 12, 13 and Ubuntu 24.04, installs what is missing after asking."""
)

EPILOG = """Examples:

./halab doctor

./halab doctor --install            asks first

./halab doctor --yes                does not

./halab doctor --json

Exit code 2 when a check fails; warnings do not count."""


def register(app: typer.Typer) -> None:
    app.command("doctor", help=HELP, epilog=EPILOG)(doctor)


def doctor(
    stack: options.Stack = options.DEFAULT_STACK,
    install: Annotated[bool, typer.Option("--install", help="Install what is missing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Install without asking.")] = False,
    as_json: options.Json = False,
) -> int:
    found = options.workspace(stack)
    from halab.actions.doctor import run

    return run(found, install=install, yes=yes, as_json=as_json)
