"""halab doctor"""

from __future__ import annotations

from typing import Annotated

import typer

from components.variant import StackError
from halab.cli import options
from halab.errors import REFUSED

HELP = options.prose(
    """Check this host, and what a stack needs of it; say how to mend each thing.

Of the host: programs and their versions, hypervisor, KVM, memory, disk. Of the stack: its VMs, memory, images, how long
an up takes, networks and ports, and whether it fits beside other stacks. A stack file's mistakes are rows too.

With --install, on Debian 12, 13 and Ubuntu 24.04, installs what is missing after asking."""
)

EPILOG = """Examples:

./halab doctor

./halab doctor --stack mine

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
    try:
        found = options.workspace(stack)
    except StackError as error:
        from halab.display.mistakes import show

        show(stack, error, as_json=as_json)
        return REFUSED
    from halab.actions.doctor import run

    return run(found, install=install, yes=yes, as_json=as_json)
