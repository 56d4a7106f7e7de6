"""halab fence-daemon: what the program's fencing resource runs; not for people."""

from __future__ import annotations

import typer

from halab.cli import options

app = typer.Typer(help="Start or stop a stack's fence_virtd.", no_args_is_help=True)


@app.command("start")
def start(stack: options.Stack = options.DEFAULT_STACK) -> int:
    """Configure and (re)start it: JSON on stdin with uri, bridge, address, key (base64) and groups."""
    from halab.actions.fence_daemon import start as run

    return run(stack)


@app.command("stop")
def stop(stack: options.Stack = options.DEFAULT_STACK) -> int:
    """End it and delete its key and configuration."""
    from halab.actions.fence_daemon import stop as run

    return run(stack)
