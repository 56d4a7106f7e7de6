"""Have nodes leave what they are members of before their VMs go."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from halab import leave
from halab.actions import cloud
from halab.errors import HalabError
from halab.impact import Change
from halab.workspace import Workspace

#: Seconds that a node has: its database may have to write all it has in memory.
_LIMIT = 600.0


def ahead(workspace: Workspace, touched: Change, console: Console) -> None:
    """One node after the other, those that are left out of the stack file and those that are rebuilt.

    Best effort: a node that cannot be reached goes as it is. Called from the network where the nodes are.
    """
    topology = leave.with_nodes(workspace.topology, touched.removed)
    known = {node.name: node for node in topology.nodes}
    nodes = [known[name] for name in (*touched.removed, *touched.rebuilt) if name in known]
    going = [node for node in nodes if leave.units(topology, node)]
    if not going:
        return

    async def run() -> None:
        async with cloud.remote(replace(workspace, topology=topology)) as remote:
            for node in going:
                try:
                    done = await asyncio.wait_for(remote.run(node.name, leave.script(topology, node)), _LIMIT)
                    console.print(Text(done.strip()))
                except (HalabError, OSError, TimeoutError) as error:
                    console.print(Text(f"{node.name} goes as it is: {str(error) or f'no answer in {_LIMIT:.0f} s'}"))

    asyncio.run(run())
