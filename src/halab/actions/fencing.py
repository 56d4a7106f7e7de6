"""Fire each fence device once, in a controlled way, and note how long it took."""

from __future__ import annotations

import asyncio

from rich.console import Console

from halab.workspace import Workspace


def prove(workspace: Workspace, nodes: tuple[str, ...], console: Console) -> dict[str, float]:
    """Node to seconds, for those whose fencing worked; noted in the stack's record."""
    return asyncio.run(_prove(workspace, nodes, console))


async def _prove(workspace: Workspace, nodes: tuple[str, ...], console: Console) -> dict[str, float]:
    raise NotImplementedError
