"""The command line: one file per command, each a thin layer over halab.actions."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 failed, 2 bad input or a missing requirement."""
    from halab.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
