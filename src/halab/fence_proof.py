"""Fencing, proven: every VM that a cluster may fence is fenced once, by the cluster, and comes back.

A fence agent's monitor says nothing of its targets (fencing.md): only a fired device is a proven one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from components.cluster.fencing import targets
from components.topology import Cluster, Topology
from halab import crm
from halab.verify.context import script
from halab.verify.questions.cluster import absent, misplaced

Run = Callable[[str, str], Awaitable[str]]
_BOOT_ID = "cat /proc/sys/kernel/random/boot_id\n"
_FENCE = 'stonith_admin --reboot "$target" --timeout 180 --tag halab-proof\n'


@dataclass(frozen=True, slots=True)
class Proof:
    """`fenced`: seconds from the order to Pacemaker's word that it is done; `back`: until all was well again."""

    node: str
    by: str
    fenced: float
    back: float


class ProofError(RuntimeError):
    """A VM that was not fenced, or did not come back; the message says what was awaited and seen."""


def rounds(cluster: Cluster, topology: Topology) -> Iterator[tuple[str, ...]]:
    """Who is fenced together: everything that is no member beside the last member, then the members one by one."""
    members = [node.name for node in cluster.members]
    others = [node.name for node in targets(topology, cluster) if node.name not in members]
    yield (*others, members[-1])
    yield from ((member,) for member in reversed(members[:-1]))


async def _until(what: str, limit: float, problem: Callable[[], Awaitable[str]]) -> None:
    """Wait until there is no problem. Raises ProofError with the last one at the limit (seconds)."""
    deadline = time.monotonic() + limit
    while seen := await problem():
        if time.monotonic() > deadline:
            raise ProofError(f"waited {limit:.0f} s for {what}; last seen: {seen}")
        await asyncio.sleep(1)


async def _well(run: Run, cluster: Cluster, topology: Topology, asker: str) -> str:
    try:
        state = crm.parse(await run(asker, crm.COMMAND))
    except Exception as error:
        return str(error)
    return "; ".join([*absent(cluster, state), *misplaced(topology, cluster, state)])


async def _fence(run: Run, node: str, asker: str) -> tuple[float, str]:
    """Fence the node; the seconds it took and its boot id before."""
    before = await run(node, _BOOT_ID)
    start = time.monotonic()
    try:
        await run(asker, script(_FENCE, target=node))
    except Exception as error:
        raise ProofError(f"{node} was not fenced by {asker}: {error}") from None
    return time.monotonic() - start, before


async def _rebooted(run: Run, node: str, before: str) -> str:
    try:
        now = await asyncio.wait_for(run(node, _BOOT_ID), 15)
    except Exception as error:
        return f"{node} does not answer: {error or type(error).__name__}"
    return "" if now != before else f"{node} still runs with boot id {now.strip()}"


async def prove(
    run: Run, topology: Topology, on_proof: Callable[[Proof], None] = lambda proof: None, limit: float = 600
) -> tuple[Proof, ...]:
    """Fence every target of every cluster once. Raises ProofError at the first that fails."""
    proofs: list[Proof] = []
    for cluster in topology.clusters:
        for group in rounds(cluster, topology):
            asker = next(node.name for node in cluster.members if node.name not in group)

            async def well(cluster: Cluster = cluster, asker: str = asker) -> str:
                return await _well(run, cluster, topology, asker)

            await _until(f"cluster {cluster.name} to be well before {', '.join(group)} is fenced", limit, well)
            start = time.monotonic()
            fired = await asyncio.gather(*(_fence(run, node, asker) for node in group))
            for node, (_, before) in zip(group, fired, strict=True):

                async def rebooted(node: str = node, before: str = before) -> str:
                    return await _rebooted(run, node, before)

                await _until(f"{node} to boot again after it was fenced", limit, rebooted)
            await _until(f"cluster {cluster.name} to be well after {', '.join(group)} was fenced", limit, well)
            back = time.monotonic() - start
            for node, (fenced, _) in zip(group, fired, strict=True):
                proof = Proof(node, asker, round(fenced, 1), round(back, 1))
                on_proof(proof)
                proofs.append(proof)
    return tuple(proofs)
