"""Fire the fencing of every VM once, in a controlled way, and note how long it took."""

from __future__ import annotations

import asyncio
import os

from rich.console import Console

from halab import fence_proof
from halab.actions import cloud
from halab.workspace import Workspace

#: VMs that may boot at once for each of the host's cores.
_EACH_CORE = 2


def prove(workspace: Workspace, nodes: tuple[str, ...], console: Console) -> dict[str, float]:
    """Node to seconds, for those of `nodes` whose fencing worked; noted in the stack's record as it goes."""
    record = workspace.record()
    proven: dict[str, float] = dict(record.fenced) if record else {}
    console.print(f"fencing: each of {len(nodes)} VMs is fenced once (leave it out with --no-fence-proof)")

    def note(proof: fence_proof.Proof) -> None:
        if proof.problem or proof.fenced is None:
            console.print(f"{proof.node} by {proof.device}: {proof.problem}", style="bold red")
            return
        proven[proof.node] = proof.fenced
        workspace.note(fenced=dict(proven))
        console.print(
            f"{proof.node} fenced by {proof.device} in {proof.fenced:.1f} s, all back after {proof.back:.0f} s"
        )

    async def run() -> None:
        async with cloud.remote(workspace) as remote:
            abreast = _EACH_CORE * len(os.sched_getaffinity(0))
            await fence_proof.prove(workspace.topology, remote.run, nodes, abreast=abreast, done=note)

    asyncio.run(run())
    return {node: seconds for node, seconds in proven.items() if node in nodes}
